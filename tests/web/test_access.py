"""Who may do what: logins, tokens, and the one check of pages, REST, `/ws` and Socket.IO."""

import contextlib
import errno
import http.client
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import gevent
import pytest
import requests
import socketio
import websocket
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect

import web.users
from tests.support.parts import Part, free_port, wait_until
from web import create_app
from web.access import COOKIE
from web.attempts import FREE, LONGEST_WAIT_S, MOST_ADDRESSES, Attempts
from web.context import KEY
from web.login import local_target
from web.settings import WebSettings
from web.users import remove, set_token, set_user

PASSWORD = "correct horse"
NETWORK = {"REMOTE_ADDR": "192.168.1.7"}
READING = {"meter_id": 1, "power": 1.0}
SOCKETS = ("/ws/1", "/socket.io/?EIO=4&transport=websocket")
OPEN = {
    "/healthz",
    "/login",
    "/logout",
    "/offline",
    "/service-worker.js",
    "/static/<path:filename>",
    "/assets/<names>.<content_hash>.<kind>",
}


@pytest.fixture(scope="module")
def two_users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of `users_file`: hashing is slow, as it should be."""
    path = tmp_path_factory.mktemp("users") / "web-users"
    set_user(path, "anna", "viewer", PASSWORD)
    set_user(path, "ben", "editor", PASSWORD)
    return path


@pytest.fixture
def users_file(two_users: Path, tmp_path: Path) -> Path:
    """A users file with a viewer and an editor."""
    (tmp_path / "state").mkdir(mode=0o700)
    return Path(shutil.copy(two_users, tmp_path / "state"))


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., FlaskClient]]:
    """Make clients of services that have an empty history."""
    with ExitStack() as stack:

        def made(**changed: Any) -> FlaskClient:
            ours: dict[str, Any] = {
                "database_url": f"sqlite:///{tmp_path}/energy_meters.db",
                "mqtt_port": free_port(),
                "web_users_file": tmp_path / "state" / "web-users",
            }
            app = create_app(WebSettings(_env_file=None, **ours | changed))
            stack.callback(app.extensions[KEY].history.close)
            return app.test_client()

        yield made


@pytest.fixture
def client(users_file: Path, make_client: Callable[..., FlaskClient]) -> FlaskClient:
    """A client of a service with a viewer and an editor."""
    assert users_file.exists()
    return make_client()


def log_in(client: FlaskClient, name: str, password: str = PASSWORD, **options: Any) -> Any:
    return client.post("/login", data={"name": name, "password": password}, **options)


def post(client: FlaskClient, **options: Any) -> int:
    """Post a reading; 503 (there is no broker) is the answer to someone who may."""
    return client.post("/readings/", json=READING, **options).status_code


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_no_address_answers_without_a_login_except_health_and_the_login_itself(
    client: FlaskClient,
) -> None:
    rules = {rule.rule for rule in client.application.url_map.iter_rules()} - OPEN
    paths = {re.sub("<.*?>", "1", rule) for rule in rules} | {"/socket.io/", "/metrics", "/x"}

    answers = {path: client.get(path) for path in sorted(paths)}

    assert len(answers) > 10
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        answers, 401
    )
    for answer in answers.values():
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Meterflow"'
        assert "Authorization: Bearer TOKEN" in answer.json["detail"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/static/theme.js", buffered=True).status_code == 200


def test_a_page_leads_to_the_login_and_the_login_leads_back(client: FlaskClient) -> None:
    answer = client.get("/meter/1?x=2", headers={"Accept": "text/html,*/*"})
    assert answer.status_code == 302
    assert answer.location == "/login?next=/meter/1?x%3D2"

    assert "Log in" in client.get(answer.location).text
    logged_in = client.post(answer.location, data={"name": "anna", "password": PASSWORD})

    assert (logged_in.status_code, logged_in.location) == (303, "/meter/1?x=2")
    assert client.get(logged_in.location).status_code == 200


def test_a_viewer_reads_and_an_editor_also_posts(
    client: FlaskClient, make_client: Callable[..., FlaskClient]
) -> None:
    log_in(client, "anna")
    editor = make_client()
    log_in(editor, "ben")

    assert (client.get("/meters/").status_code, post(client)) == (200, 403)
    assert (editor.get("/meters/").status_code, post(editor)) == (200, 503)
    detail = client.post("/readings/", json=READING).json["detail"]
    assert detail == "anna is a viewer; only an editor may post"


def test_a_token_has_the_rights_of_its_role(client: FlaskClient, users_file: Path) -> None:
    _, reading = set_token(users_file, "display", "viewer")
    _, writing = set_token(users_file, "logger", "editor")

    assert client.get("/meters/", headers=bearer(reading)).status_code == 200
    assert post(client, headers=bearer(reading)) == 403
    assert post(client, headers=bearer(writing)) == 503


def test_a_wrong_token_is_refused_also_where_nobody_must_log_in(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(web_open="read")

    assert client.get("/meters/").status_code == 200
    assert client.get("/meters/", headers=bearer("x" * 43)).status_code == 401


def test_a_token_in_an_address_is_not_accepted(client: FlaskClient, users_file: Path) -> None:
    _, token = set_token(users_file, "logger", "editor")

    for name in ("token", "access_token", "authorization", COOKIE):
        assert client.get(f"/meters/?{name}={token}").status_code == 401


def test_a_token_ends_when_it_is_replaced_or_removed(client: FlaskClient, users_file: Path) -> None:
    _, old = set_token(users_file, "logger", "viewer")
    _, new = set_token(users_file, "logger", None)

    assert client.get("/meters/", headers=bearer(old)).status_code == 401
    assert client.get("/meters/", headers=bearer(new)).status_code == 200

    remove(users_file, "logger")

    assert client.get("/meters/", headers=bearer(new)).status_code == 401


@pytest.mark.parametrize("change", ["password", "removed"])
def test_a_session_ends_when_the_password_changes_or_the_user_is_removed(
    client: FlaskClient, users_file: Path, change: str
) -> None:
    log_in(client, "anna")
    assert client.get("/meters/").status_code == 200

    if change == "password":
        set_user(users_file, "anna", None, "another horse")
    else:
        remove(users_file, "anna")

    assert client.get("/meters/").status_code == 401


def test_a_session_ends_with_the_log_out(client: FlaskClient) -> None:
    log_in(client, "anna")
    assert "Log out" in client.get("/").text

    answer = client.post("/logout")

    assert (answer.status_code, answer.location) == (303, "/login")
    assert client.get("/meters/").status_code == 401
    assert client.get("/logout").status_code == 405


def test_a_session_outlives_a_restart_and_is_shared_by_services_with_one_users_file(
    client: FlaskClient, make_client: Callable[..., FlaskClient], users_file: Path
) -> None:
    log_in(client, "anna")
    value = client.get_cookie(COOKIE).value
    other = make_client()
    other.set_cookie(COOKIE, value)

    assert other.get("/meters/").status_code == 200
    assert users_file.with_name("web-secret").stat().st_mode & 0o777 == 0o600


def test_a_forged_or_foreign_cookie_opens_nothing(
    client: FlaskClient, make_client: Callable[..., FlaskClient], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / "web-users"
    set_user(elsewhere, "anna", "editor", PASSWORD)
    stranger = make_client(web_users_file=elsewhere)
    log_in(stranger, "anna")
    foreign = stranger.get_cookie(COOKIE).value
    body = foreign.partition(".")[0]

    for value in (foreign, body, f"{body}.x.y", "x", ".", "é", "a" * 4000):
        client.set_cookie(COOKIE, value)
        assert client.get("/meters/").status_code == 401
    log_in(client, "anna")
    client.set_cookie(COOKIE, foreign)
    assert client.get("/meters/").status_code == 401


@pytest.mark.parametrize("value", ["\xff\xfe", "", "\xe9.x.y", '"', "a; meterflow_session=\x80"])
def test_a_cookie_that_is_no_text_opens_nothing_and_is_no_error(
    client: FlaskClient, value: str
) -> None:
    plain = client.application.test_client(use_cookies=False)
    cookie = {"HTTP_COOKIE": f"{COOKIE}={value}"}

    assert plain.get("/meters/", environ_overrides=cookie).status_code == 401
    assert plain.get("/socket.io/?EIO=4", environ_overrides=cookie).status_code == 401
    assert "Log in" in plain.get("/login", environ_overrides=cookie).text


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["Authorization", "Cookie", "Host", "Origin", "X-Forwarded-For", "Accept"]),
        st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=50)
        | st.sampled_from(
            ["Bearer ", "bearer x", "Basic YTpi", "localhost", "127.0.0.1", "[::1]:1"]
        )
        | st.text(max_size=20).map(lambda text: f"{COOKIE}={quote(text)}"),
    ),
    st.sampled_from(["127.0.0.1", "192.168.1.7", "::1", "x", ""]),
)
def test_no_header_opens_the_service(
    client: FlaskClient, headers: dict[str, str], peer: str
) -> None:
    for method in ("get", "post"):
        answer = getattr(client, method)(
            "/meters/", headers=headers, environ_overrides={"REMOTE_ADDR": peer}
        )
        assert answer.status_code in (302, 401, 421)
        assert answer.status_code != 302 or answer.location == "/login?next=/meters/"


def test_the_key_of_sessions_is_on_the_disk_before_it_has_its_name(
    client: FlaskClient, users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda n: (synced.append(_content(n)), sync(n)))

    log_in(client, "anna")

    secret = users_file.with_name("web-secret")
    assert synced == [secret.read_bytes()]
    assert {each.name for each in users_file.parent.iterdir()} == {"web-users", secret.name}


def _content(descriptor: int) -> bytes:
    return Path(f"/proc/self/fd/{descriptor}").read_bytes()


def test_a_key_that_cannot_be_made_opens_no_session_and_leaves_nothing(
    client: FlaskClient, users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)

    answer = log_in(client, "anna")

    assert answer.status_code == 503
    assert "web-secret: Operation not permitted; sessions need this file" in answer.text
    assert [each.name for each in users_file.parent.iterdir()] == ["web-users"]


@pytest.mark.parametrize("content", ["", "short"])
def test_a_key_that_could_be_guessed_opens_no_session(
    client: FlaskClient, users_file: Path, content: str
) -> None:
    users_file.with_name("web-secret").write_text(content)

    answer = log_in(client, "anna")

    assert answer.status_code == 503
    assert "too short for a key; delete it" in answer.text
    assert COOKIE not in answer.headers.get("Set-Cookie", "")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_cookie_is_for_this_service_alone(client: FlaskClient, scheme: str) -> None:
    answer = log_in(client, "anna", base_url=f"{scheme}://localhost/")

    cookie = SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert bool(cookie["secure"]) == (scheme == "https")
    assert not cookie["domain"]


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "http://evil.example/",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\n/evil.example",
        "evil.example",
        "",
    ],
)
def test_the_login_leads_to_no_other_site(client: FlaskClient, target: str) -> None:
    assert local_target(target) == "/"
    answer = client.post(
        "/login", query_string={"next": target}, data={"name": "anna", "password": PASSWORD}
    )

    assert (answer.status_code, answer.location) == (303, "/")


def test_this_machine_needs_no_login_while_there_is_no_user(
    make_client: Callable[..., FlaskClient], tmp_path: Path
) -> None:
    client = make_client()

    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert post(client, environ_overrides={"REMOTE_ADDR": address}) == 503
    for address in ("192.168.1.7", "10.0.0.1", "2001:db8::1", "::ffff:192.168.1.7", "", "x"):
        assert post(client, environ_overrides={"REMOTE_ADDR": address}) == 401
    refused = client.get("/meters/", environ_overrides=NETWORK).json["detail"]
    assert "there are no users yet: 'meterflow web add-user NAME' adds one" in refused
    set_user(tmp_path / "state" / "web-users", "anna", None, PASSWORD)
    assert client.get("/meters/").status_code == 401


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_a_proxy_on_this_machine_does_not_open_it_to_the_network(
    make_client: Callable[..., FlaskClient], header: str
) -> None:
    client = make_client()

    assert client.get("/meters/", headers={header: "127.0.0.1"}).status_code == 401


def test_the_network_may_read_without_a_login_where_that_is_set(
    make_client: Callable[..., FlaskClient], users_file: Path
) -> None:
    client = make_client(web_open="read")
    _, token = set_token(users_file, "logger", "editor")

    assert client.get("/meters/", environ_overrides=NETWORK).status_code == 200
    assert "Log in" in client.get("/login", environ_overrides=NETWORK).text
    answer = client.post("/readings/", json=READING, environ_overrides=NETWORK)
    assert (answer.status_code, "WWW-Authenticate" in answer.headers) == (401, True)
    assert post(client, environ_overrides=NETWORK, headers=bearer(token)) == 503
    log_in(client, "ben", environ_overrides=NETWORK)
    assert post(client, environ_overrides=NETWORK) == 503


@pytest.mark.parametrize(
    ("program", "host"),
    [("web", "0.0.0.0"), ("web", "::"), ("web", "192.168.1.5"), ("meterflow", "0.0.0.0")],
)
def test_a_public_address_without_users_is_refused_with_what_to_do(
    tmp_path: Path, program: str, host: str
) -> None:
    public = {"HTTP_HOST": host, "HTTP_PORT": free_port(), "MQTT_PORT": free_port()}
    with Part.module(program, directory=tmp_path, **public) as part:
        assert part.process.wait(30) == 2

        assert (
            f"{program}: HTTP_HOST {host} is reachable from the network, but no users are "
            "configured: run 'meterflow web add-user NAME' first, or set WEB_OPEN=read"
        ) in part.output


@pytest.mark.parametrize("way", ["users", "WEB_OPEN"])
def test_a_public_address_is_served_with_users_or_where_everyone_may_read(
    tmp_path: Path, way: str
) -> None:
    public: dict[str, object] = {"HTTP_HOST": "0.0.0.0", "HTTP_PORT": free_port()}
    if way == "users":
        set_user(tmp_path / "state" / "web-users", "anna", None, PASSWORD)
    else:
        public["WEB_OPEN"] = "read"
    with Part.module("web", directory=tmp_path, MQTT_PORT=free_port(), **public) as part:
        part.wait_for("listening")
        said = "anna may log in" if way == "users" else "anyone on the network may read"
        assert said in part.output


def test_failed_logins_slow_down_and_others_may_still_log_in(client: FlaskClient) -> None:
    for _ in range(FREE):
        answer = log_in(client, "anna", "wrong horse", environ_overrides=NETWORK)
        assert (answer.status_code, "Name or password is wrong" in answer.text) == (401, True)

    answer = log_in(client, "anna", environ_overrides=NETWORK)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert "Too many attempts. Try again in 1 s." in answer.text
    assert (
        log_in(client, "anna", environ_overrides={"REMOTE_ADDR": "192.168.1.8"}).status_code == 303
    )


def test_logins_tried_at_the_same_time_are_counted_before_they_are_checked(
    client: FlaskClient,
) -> None:
    def attempt() -> int:
        other = client.application.test_client()
        return int(log_in(other, "anna", "wrong horse").status_code)

    attempts = [gevent.spawn(attempt) for _ in range(3 * FREE)]
    gevent.joinall(attempts, timeout=60)

    assert sorted(each.value for each in attempts) == [401] * FREE + [429] * 2 * FREE


def test_waits_double_up_to_a_limit_and_a_success_ends_them() -> None:
    attempts = Attempts()
    now_s, waits_s = 0.0, []
    for _ in range(2000):
        assert attempts.begin("192.168.1.7", now_s) == 0
        wait_s = attempts.begin("192.168.1.7", now_s)
        if not wait_s:
            continue
        waits_s.append(wait_s)
        now_s += wait_s

    assert waits_s[:4] == [1, 2, 4, 8]
    assert max(waits_s) == LONGEST_WAIT_S
    attempts.succeed("192.168.1.7")
    assert [attempts.begin("192.168.1.7", now_s) for _ in range(FREE)] == [0] * FREE


def test_attempts_from_many_addresses_take_bounded_memory() -> None:
    attempts = Attempts()
    for number in range(3 * MOST_ADDRESSES):
        attempts.begin(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}", 0.0)

    assert len(attempts._failed) == MOST_ADDRESSES


def test_the_addresses_of_one_ipv6_network_are_one() -> None:
    attempts = Attempts()
    for number in range(FREE):
        assert attempts.begin(f"2001:db8::{number:x}", 0.0) == 0

    assert attempts.begin("2001:db8::ffff", 0.0) == 1
    assert attempts.begin("2001:db8:0:1::1", 0.0) == 0


def test_an_unknown_user_costs_as_much_as_a_known_one(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    real = web.users.check_password_hash

    def noted(hashed: str, password: str) -> bool:
        checked.append(hashed.partition("$")[0])
        return real(hashed, password)

    monkeypatch.setattr(web.users, "check_password_hash", noted)
    known, unknown = log_in(client, "anna", "wrong horse"), log_in(client, "nobody", "wrong horse")

    assert checked == ["scrypt:32768:8:1"] * 2
    assert known.text.replace("anna", "") == unknown.text.replace("nobody", "")


def test_what_someone_types_is_shown_as_text(client: FlaskClient) -> None:
    answer = log_in(client, '"><script>alert(1)</script>')

    assert answer.status_code == 401
    assert "<script>alert" not in answer.text


class Site:
    """A web service with users and tokens, without a broker."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.users_file = directory / "state" / "web-users"
        self.port = free_port()
        set_user(self.users_file, "anna", "viewer", PASSWORD)
        set_user(self.users_file, "ben", "editor", PASSWORD)
        _, self.token = set_token(self.users_file, "display", "viewer")
        _, self.other_token = set_token(self.users_file, "logger", "editor")
        ours = {"HTTP_PORT": self.port, "MQTT_PORT": free_port(), "LOG_LEVEL": "DEBUG"}
        web = Part.module("web", directory=directory, **ours)
        self.web = stack.enter_context(web)
        self.web.wait_for("listening")

    def credentials(self, kind: str) -> dict[str, str]:
        """Return the header of someone who has logged in, or of a program."""
        if kind == "token":
            return bearer(self.token)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode({"name": "anna", "password": PASSWORD})
            connection.request("POST", "/login", body, form)
            with connection.getresponse() as answer:
                cookie = answer.headers["Set-Cookie"]
        return {"Cookie": cookie.partition(";")[0]}

    def revoke(self, kind: str) -> None:
        """Remove the user, or the token."""
        remove(self.users_file, "display" if kind == "token" else "anna")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("site"), stack)


def test_websockets_are_refused_before_the_handshake_without_a_login(site: Site) -> None:
    for path in SOCKETS:
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            websocket.create_connection(f"ws://127.0.0.1:{site.port}{path}", timeout=30)
        assert refused.value.status_code == 401


def test_a_token_in_the_address_of_a_websocket_is_not_accepted(site: Site) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException):
        websocket.create_connection(
            f"ws://127.0.0.1:{site.port}/ws/1?token={site.token}", timeout=5
        )


def test_neither_password_nor_token_nor_session_reaches_the_log(site: Site) -> None:
    session = site.credentials("user")["Cookie"]
    for headers in (site.credentials("token"), {"Cookie": session}):
        request = Request(f"http://127.0.0.1:{site.port}/meters/", headers=headers)
        with urlopen(request, timeout=30) as answer:
            assert answer.status == 200

    assert "GET /meters/" in site.web.output
    value = session.partition("=")[2]
    assert not [secret for secret in (PASSWORD, site.token, value) if secret in site.web.output]


@pytest.mark.parametrize("kind", ["token", "user"])
def test_a_live_connection_ends_when_its_user_or_token_is_removed(
    tmp_path: Path, kind: str
) -> None:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)

        def connected(headers: dict[str, str]) -> list[websocket.WebSocket]:
            urls = (f"ws://127.0.0.1:{site.port}{path}" for path in SOCKETS)
            opened = [websocket.create_connection(u, timeout=30, header=headers) for u in urls]
            for each in opened:
                stack.callback(each.shutdown)
            return opened

        live, others = connected(site.credentials(kind)), connected(bearer(site.other_token))

        site.revoke(kind)

        for each in live:
            while (frame := each.recv_data())[0] != websocket.ABNF.OPCODE_CLOSE:
                pass
            assert int.from_bytes(frame[1][:2], "big") == 1008
        for other in others:
            other.ping()
            assert other.recv_frame().opcode != websocket.ABNF.OPCODE_CLOSE


def test_a_viewer_subscribes_by_long_polling_until_the_token_is_removed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        url = f"http://127.0.0.1:{site.port}"
        with pytest.raises(socketio.exceptions.ConnectionError):
            socketio.Client(reconnection=False).connect(url, transports=["polling"])
        session = stack.enter_context(requests.Session())
        session.headers.update(site.credentials("token"))  # the client's own headers are sent once
        viewer = socketio.Client(reconnection=False, http_session=session)
        viewer.connect(url, transports=["polling"])
        assert viewer.call("subscribe", "meters/#", timeout=30) == ["meters/#"]

        site.revoke("token")

        with contextlib.suppress(socketio.exceptions.SocketIOError):
            viewer.emit("subscribe", "meters/1/#")
        wait_until(lambda: not viewer.connected, what="the end of the session")


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_a_person_logs_in_and_out_also_without_javascript(
    site: Site, chromium: Browser, script: bool
) -> None:
    with closing(chromium.new_context(java_script_enabled=script)) as context:
        page = context.new_page()
        page.goto(f"http://localhost:{site.port}/meter/1?x=2")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill("wrong horse")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
        expect(page.get_by_label("Name")).to_have_value("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"http://localhost:{site.port}/meter/1?x=2")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"http://localhost:{site.port}/login")
        page.goto(f"http://localhost:{site.port}/")
        expect(page.get_by_role("heading")).to_have_text("Log in")


@pytest.mark.browser
def test_the_login_page_fits_a_phone(site: Site, chromium: Browser) -> None:
    with closing(chromium.new_context(viewport={"width": 320, "height": 640})) as context:
        page = context.new_page()
        page.goto(f"http://localhost:{site.port}/login")

        assert page.evaluate("document.documentElement.scrollWidth") == 320
        assert page.evaluate("document.documentElement.scrollHeight") == 640


@pytest.mark.browser
def test_an_open_page_shows_the_login_when_its_session_ends(
    tmp_path: Path, chromium: Browser
) -> None:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        page = stack.enter_context(closing(chromium.new_context())).new_page()
        page.goto(f"http://localhost:{site.port}/?x=2")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#connection")).to_have_attribute("data-state", "broker")

        set_user(site.users_file, "anna", None, "another horse")

        page.wait_for_url(f"http://localhost:{site.port}/login?next=%2F%3Fx%3D2")
