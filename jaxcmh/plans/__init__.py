"""What the papers print, and what each of them measures."""

from jaxcmh.plans.published import printed

__all__ = ["printed"]
