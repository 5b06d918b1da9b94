"""What a method is made of: data, feature maps, reduced rows, algebra, hash functions."""
