"""`jaxcmh serve`: the API, the page, and a server under load, that grows and that is stopped."""

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from browser import CHROMIUM, in_browser
from coloured import pictures

import jaxcmh
from jaxcmh import index as indexes
from jaxcmh.commands import cli
from jaxcmh.commands import serve as serving
from jaxcmh.datasets import load_folder
from jaxcmh.results import runs
from jaxcmh.studies import runs as trained

for needed in ("starlette", "uvicorn", "httpx2"):
    pytest.importorskip(needed)
TestClient = pytest.importorskip("starlette.testclient").TestClient

pytestmark = pytest.mark.xdist_group("serve")  # the trained run is shared


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with pictures, a run with thumbnails and an index of it."""
    place = tmp_path_factory.mktemp("served")
    pictures(place)
    split = load_folder(place / "pictures")
    outcome = trained.run(split, "dcgh", bits=16, data="pictures", thumbnails=True)
    runs.keep(place / "run", outcome, {"data": "pictures"})
    rows, names = runs.things(runs.read_run(place / "run"), outcome.model)
    items = indexes.build(np.asarray(outcome.model.codes)[rows], names, model=outcome.model)
    indexes.save(items, place / "pets.index")
    return place


@pytest.fixture(params=["run", "index"])
def client(request, made):
    source = (made / "run", None) if request.param == "run" else (made / "pets.index", made / "run")
    now = serving.watched(*serving.sources(*source))
    with TestClient(serving.application(now), base_url="http://127.0.0.1") as asking:
        yield asking


# -- the API ----------------------------------------------------------------------------------------------------------


def test_words_and_pictures_find_what_the_library_finds(client, made):
    model = jaxcmh.load(made / "run")
    told = client.get("/search", params={"text": "blue stripes", "k": 6}).json()
    assert told["items"] == 41
    found = model.search(text="blue stripes", k=6)
    assert [(a["rank"], a["distance"], a["item"]) for a in told["answers"]] == [
        (f.rank, f.score, f.name) for f in found
    ]
    assert (told["answers"][0]["labels"], told["answers"][0]["text"]) == (["blue", "stripes"], found[0].text)
    file = made / "pictures" / "04.png"
    told = client.post("/search?k=3", content=file.read_bytes()).json()
    assert [a["item"] for a in told["answers"]] == [f.name for f in model.search(image=file, k=3)]
    assert len(client.get("/search?text=red").json()["answers"]) == 10
    assert len(client.get("/search?text=red&k=100").json()["answers"]) == 41  # all there are


@pytest.mark.parametrize(
    ("method", "address", "content", "status", "why"),
    [
        ("GET", "/search", None, 400, "text: expected 1 to 1000 signs; got 0"),
        ("GET", "/search?text=%20", None, 400, "text: expected 1 to 1000 signs; got 0"),
        ("GET", f"/search?text={'a' * 1001}", None, 400, "got 1001"),
        ("GET", "/search?text=a&text=b", None, 400, "text: expected once; got 2 times"),
        ("GET", "/search?text=qwzx", None, 400, "no word of 'qwzx'"),
        ("GET", "/search?text=%00", None, 400, "without lone surrogates and zero characters"),
        ("GET", "/search?text=blue&k=0", None, 400, "k: expected an integer from 1 to 100; got '0'"),
        ("GET", "/search?text=blue&k=101", None, 400, "k: expected"),
        ("GET", "/search?text=blue&k=-1", None, 400, "k: expected"),
        ("GET", "/search?text=blue&k=²", None, 400, "k: expected"),
        ("POST", "/search", b"", 400, "picture: expected the bytes of a picture"),
        ("POST", "/search", b"/etc/passwd", 400, "not a picture"),
        ("POST", "/search", b"\x89PNG\r\n\x1a\n" + b"x" * 99, 400, "not a picture"),
        ("POST", "/search", b"x" * 10_000_001, 413, "at most 10,000,000 bytes"),
        ("GET", "/thumbnail", None, 400, "item: expected the id"),
        ("GET", "/thumbnail?item=../pets.index", None, 404, "no picture"),
        ("GET", "/thumbnail?item=/etc/passwd", None, 404, "no picture"),
        ("GET", "/thumbnail?item=٣", None, 404, "no picture"),
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("GET", "/page/../serve.py", None, 404, "Not Found"),
        ("DELETE", "/search", None, 405, "Method Not Allowed"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(client, method, address, content, status, why):
    answer = client.request(method, address, content=content)
    assert answer.status_code == status
    assert why in answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("headers", "most"), [([(b"content-length", b"10000001")], 0), ([], 11)])
def test_no_more_of_an_upload_is_read_than_is_allowed(made, headers, most):
    application = serving.application(serving.watched(*serving.sources(made / "run", None)))
    scope = {"type": "http", "method": "POST", "path": "/search", "raw_path": b"/search", "query_string": b""}
    scope |= {"headers": [(b"host", b"localhost"), *headers], "http_version": "1.1", "scheme": "http"}
    read, sent = [], []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": bytes(1_000_000), "more_body": True}

    async def send(message):
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    assert (sent[0]["status"], len(read)) == (413, most)
    assert json.loads(sent[1]["body"]) == {"error": "picture: expected at most 10,000,000 bytes"}


def test_another_name_of_this_machine_is_refused(client):
    assert client.get("/about", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/about", headers={"host": "localhost:8000"}).json()["items"] == 41


def test_nothing_that_is_shown_can_run(client):
    for address in ("/", "/search?text=blue", "/nowhere", "/thumbnail?item=00.png"):
        headers = client.get(address).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
    page, script = client.get("/"), client.get("/page.js")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script>" not in page.text
    assert " on" not in page.text.replace(" one", "")  # no handlers in attributes
    assert "innerHTML" not in script.text
    for style in ("/page.css", "/style.css"):
        assert client.get(style).headers["content-type"].startswith("text/css")


def test_thumbnails_are_those_of_the_run(client, made):
    known = jaxcmh.load(made / "run").catalogue
    answer = client.get("/thumbnail", params={"item": known.names[7]})
    assert answer.content == known.thumbnails[7]
    assert answer.headers["content-type"] == "image/jpeg"


def test_an_index_shows_its_own_texts_and_thumbnails(made, tmp_path):
    model = jaxcmh.load(made / "run")
    kept = indexes.Details(["a <b>twin</b>", ""], [["dots"], []], [b"\x89PNG small", b""])
    items = indexes.build(np.asarray(model.codes)[[2, 2]], ["twin", "03.png"], model=model, details=kept)
    indexes.save(items, tmp_path / "a.index")
    now = serving.watched(*serving.sources(tmp_path / "a.index", made / "run"))
    with TestClient(serving.application(now), base_url="http://localhost") as asking:
        twin, other = asking.get("/search?text=blue").json()["answers"]
        assert (twin["labels"], twin["text"]) == (["dots"], "a <b>twin</b>")
        row = list(model.catalogue.names).index("03.png")
        assert (other["labels"], other["text"]) == (model.catalogue.labels_of(row), model.catalogue.texts[row])
        assert asking.get("/thumbnail?item=twin").content == b"\x89PNG small"
        assert asking.get("/thumbnail?item=03.png").content == model.catalogue.thumbnails[row]  # of the run
        assert asking.get("/about").json()["pictured"]


def test_pictures_of_a_folder_are_shown_where_an_id_names_them(made, tmp_path):
    folder = shutil.copytree(made / "pictures", tmp_path / "pictures")
    shutil.copy(folder / "00.png", tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "text.png").write_text("no picture")
    model = jaxcmh.load(made / "run")
    ids = ["02.png", "../outside.png", "link.png", "text.png", "gone.png", "."]
    indexes.save(indexes.build(np.asarray(model.codes)[:6], ids, model=model), tmp_path / "a.index")
    bare = tmp_path / "bare.safetensors"
    jaxcmh.save(model.with_catalogue(load_folder(folder.parent / "pictures", query=4, skip=True)), bare)
    now = serving.watched(*serving.sources(tmp_path / "a.index", bare))
    with TestClient(serving.application(now, [tmp_path / "none", folder]), base_url="http://localhost") as asking:
        status = [asking.get("/thumbnail", params={"item": item}).status_code for item in [*ids, "03.png"]]
    assert status == [200, 404, 404, 404, 404, 404, 404]


def test_what_is_served_is_read_again_when_its_file_changes(made, tmp_path, capsys):
    place = shutil.copy(made / "pets.index", tmp_path / "pets.index")
    model, items = jaxcmh.load(made / "run"), indexes.load(place)
    now = serving.watched(*serving.sources(tmp_path / "pets.index", made / "run"))
    with TestClient(serving.application(now), base_url="http://localhost") as asking:
        assert asking.get("/about").json()["items"] == 41
        new = model.encode_texts(["blue stripes"])
        indexes.save(indexes.add(items, new, ["<b>new</b>"], model=model), place)
        told = asking.get("/search?text=blue stripes&k=100").json()
        assert told["items"] == 42
        assert {"rank": 1, "distance": 0, "item": "<b>new</b>", "labels": [], "text": ""} in told["answers"]
        Path(place).write_bytes(b"damaged")
        assert asking.get("/about").json()["items"] == 42
        assert "what was read before is served on: path: " in capsys.readouterr().err
        Path(place).unlink()
        assert asking.get("/search?text=red").status_code == 200
        indexes.save(indexes.remove(items, items.ids.values), place)
        assert asking.get("/search?text=red").json() == {"answers": [], "items": 0}


def test_what_cannot_be_served_is_refused(made, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxcmh.progress.start_jax", lambda: "device: cpu")
    other = jaxcmh.load(made / "run")
    split = load_folder(made / "pictures")
    jaxcmh.save(jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=16), tmp_path / "bare.safetensors")
    again = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=16, seed=1).with_catalogue(split)
    jaxcmh.save(again, tmp_path / "other.safetensors")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words, why in (
            (["gone.index"], "no run folder or index at gone.index"),
            ([made / "pets.index"], "--model: expected with an index"),
            ([made / "run", "--model", made / "run"], "--model: expected with an index; a run folder has its own"),
            ([made / "pets.index", "-m", tmp_path / "bare.safetensors"], "does not know how texts and pictures become"),
            ([made / "pets.index", "-m", tmp_path / "other.safetensors"], "is not the one that encoded the items"),
            ([made / "run", "--pictures", "gone"], "--pictures: no such folder: gone"),
            ([made / "run", "--port", taken.getsockname()[1]], "--port: cannot listen at 127.0.0.1, port"),
            ([made], "is not a run folder"),
        ):
            assert cli.main(["serve", *map(str, words)]) == 2
            assert why in capsys.readouterr().err
    assert other.catalogue is not None


def test_queries_to_try_are_words_whose_answers_have_them(client):
    told = client.get("/about").json()
    assert len(told["examples"]) >= 3
    for word in told["examples"]:
        found = client.get("/search", params={"text": word, "k": 5}).json()["answers"]
        assert sum(word in answer["text"].split() for answer in found) >= 3


# -- a server ---------------------------------------------------------------------------------------------------------


@contextmanager
def server(*words):
    """A server of its own; gives its process and its port."""
    command = [sys.executable, "-m", "jaxcmh", "serve", *map(str, words), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline()
        assert address.startswith("http://127.0.0.1:"), process.communicate()
        yield process, int(address.rstrip("/\n").rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


def memory(process):
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def load(process, port, made, clients, requests):
    """Ask for words, pictures and thumbnails, many at once; gives what went wrong and bytes of memory by quarters."""
    picture = (made / "pictures" / "05.png").read_bytes()
    kinds = [("GET", f"/search?text={quote(text)}&k=5", None) for text in ("blue stripes", "red dots", "green circle")]
    kinds += [("POST", "/search?k=5", picture), ("GET", "/thumbnail?item=03.png", None), ("GET", "/about", None)]
    wrong, done, lock, marks = [], 0, threading.Lock(), []

    def client(number):
        nonlocal done
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with closing(connection):
            for i in range(requests // clients):
                method, address, content = kinds[(number + i) % len(kinds)]
                connection.request(method, address, body=content)
                answer = connection.getresponse()
                body = answer.read()
                found = json.loads(body).get("answers", []) if address.startswith("/search") else "five!"
                with lock:
                    done += 1
                    wrong.extend([] if answer.status == 200 and len(found) == 5 else [(answer.status, body[:200])])
                    if done % (requests // 4) == 0:
                        marks.append(memory(process))

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return wrong, marks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_answers_many_while_its_index_grows_and_ends_when_told(made, tmp_path, number):
    place = shutil.copy(made / "pets.index", tmp_path / "pets.index")
    model = jaxcmh.load(made / "run")
    with server(place, "--model", made / "run") as (process, port):
        over = threading.Event()

        def grow():
            for i in range(200):
                if over.wait(0.05):
                    return
                with jaxcmh.store.only_writer(place):
                    indexes.save(indexes.add(indexes.load(place), model.codes[:1], [f"new {i}"], model=model), place)

        growing = threading.Thread(target=grow)
        growing.start()
        try:
            wrong, _ = load(process, port, made, clients=50, requests=300)
        finally:
            over.set()
            growing.join()
        assert wrong == []
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("GET", "/about")
            told = json.loads(connection.getresponse().read())
        assert told["items"] == len(indexes.load(place)) > 41
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == (143 if number == signal.SIGTERM else 130)
        assert "Traceback" not in said


@pytest.mark.long
def test_ten_thousand_requests_of_fifty_clients_leave_memory_as_it_was(made):
    with server(made / "run") as (process, port):
        assert load(process, port, made, clients=50, requests=1000)[0] == []
        began = time.perf_counter()
        wrong, marks = load(process, port, made, clients=50, requests=10_000)
        print(f"{10_000 / (time.perf_counter() - began):.0f} requests a second, memory {[m >> 20 for m in marks]} MB")
        assert wrong == []
        assert marks[-1] - marks[0] < 30e6


@in_browser
def test_the_page_shows_answers(made, tmp_path):
    words = "blue stripes"
    with server(made / "run") as (_, port):
        flags = (
            "--headless --no-sandbox --disable-gpu --no-first-run --virtual-time-budget=8000 --enable-logging=stderr"
        )
        address = f"http://127.0.0.1:{port}/?text={quote(words)}"
        command = [str(CHROMIUM), *flags.split(), f"--user-data-dir={tmp_path}", "--dump-dom", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count('<li class="hit">') == 10
    assert "The nearest 10 of 41 items to “blue stripes”." in done.stdout
    assert "0 of 16 bits differ" in done.stdout
    assert done.stdout.count("/thumbnail?item=") == 10
