"""The console in a real browser: Debian's chromium without a screen, at nodes that run."""

import http.client
import json
import os
import pathlib
import shutil
import time

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import Moldau, eventually

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
# Where pictures of the pages go that somebody wants to look at.
PICTURES = os.environ.get("CONSOLE_PICTURES")


class Browser:
    def __init__(self, driver, http_port):
        self.driver, self.root = driver, f"http://127.0.0.1:{http_port}/ui/"

    def open(self, page):
        self.driver.get("about:blank")
        self.driver.get(f"{self.root}#/{page}")
        return self

    def text(self):
        return self.driver.find_element(By.ID, "shell").text

    def shows(self, *texts, seconds=20):
        def check():
            shown = self.text()
            return all(text in shown for text in texts)
        try:
            self.wait(check, "the page", seconds)
        except AssertionError:
            raise AssertionError(f"{texts} are not on the page:\n{self.text()}\n{self.problems()}") from None

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def find(self, selector):
        return self.wait(lambda: self.all(selector), selector)[0]

    def wait(self, check, what, seconds=20):
        """Waits for something on the page, parts of which may be drawn anew while it is looked at."""
        def looked():
            try:
                return check()
            except StaleElementReferenceException:
                return None
        return eventually(looked, seconds, what)

    def press(self, text, within="body"):
        """Clicks the button with this text, once it is there and may be clicked."""
        def check():
            buttons = [b for b in self.all(f"{within} button") if b.text == text and b.is_displayed() and b.is_enabled()]
            if buttons:
                buttons[-1].click()
            return buttons
        self.wait(check, f"a button {text}")

    def fill(self, selector, text):
        element = self.find(selector)
        element.clear()
        element.send_keys(text)

    def keys(self, keys):
        # A list that is drawn anew puts another element in the place of the one that had the keys: then none was pressed.
        self.wait(lambda: [self.driver.switch_to.active_element.send_keys(keys)], "an element that takes keys")

    def run(self, script):
        return self.driver.execute_script(script)

    def problems(self):
        """What the browser complains of: errors of scripts, what the policy refused, answers that are no success."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def picture(self, name):
        if PICTURES:
            pathlib.Path(PICTURES).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(f"{PICTURES}/{name}.png")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("there is no chromium here: tests/setup.sh installs it")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1360,900",
                     "--disable-background-networking", f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def browse(driver):
    # What the page of a node that was stopped since has to say is none of the next test's business.
    driver.get("about:blank")
    driver.get_log("browser")
    return lambda http_port: Browser(driver, http_port)


def call(http_port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text) if answer.headers.get_content_type() == "application/json" else text


def create(bootstrap, name, partitions=1, replicas=1, **config):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, partitions, replicas, config=config)]).values():
        future.result(30)


def write(bootstrap, topic, records):
    producer = Producer({"bootstrap.servers": bootstrap})
    for key, value, headers in records:
        producer.produce(topic, key=key, value=value, headers=headers)
    assert producer.flush(30) == 0


def read_some(bootstrap, group, topic, count):
    """Leaves a group without members that has read so many records."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    consumer.subscribe([topic])
    messages = eventually(lambda: consumer.consume(count, timeout=5), seconds=30)
    consumer.commit(message=messages[-1], asynchronous=False)
    consumer.close()


def test_each_page_shows_the_cluster_and_nothing_comes_from_elsewhere(moldau, browse):
    create(moldau.bootstrap, "orders", **{"retention.ms": "86400000"})
    write(moldau.bootstrap, "orders", [(f"k{n}", json.dumps({"n": n, "big": 12345678901234567890}), []) for n in range(40)])
    read_some(moldau.bootstrap, "billing", "orders", 1)
    page = browse(moldau.http_port)
    page.open("overview").shows("Healthy", "1 / 1", "Records written per second", "Recent changes", "live")
    page.open("topics").shows("orders", "in sync", "1 topic")
    page.open("topics/orders").shows("Replicas", "Broker 1", "leader", "1 partition", "On disk")
    page.open("topics/orders/messages").shows("40 records looked through", "12345678901234567890")
    page.open("topics/orders/settings").shows("retention.ms", "86400000", "topic", "default")
    page.open("topics/orders/groups").shows("billing")
    page.open("groups").shows("billing", "classic", "Empty", "39")
    page.open("groups/billing").shows("billing", "Offsets", "orders", "No members", "39")
    page.open("brokers").shows("Broker 1", "this node", "in service", "free")
    page.open("brokers/1").shows("Log directories", "log.dirs", "file")
    page.open("quorum").shows("node 1", "leader", "up to date")
    page.open("nowhere").shows("There is no such page")
    addresses = page.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert addresses and all(address.startswith(page.root.removesuffix("/ui/")) for address in addresses), addresses
    assert not page.problems()


def test_a_hostile_name_key_value_or_header_stays_text(moldau, browse):
    create(moldau.bootstrap, "hostile")
    write(moldau.bootstrap, "hostile", [(HOSTILE, HOSTILE, [(HOSTILE, HOSTILE.encode())]), ("json", json.dumps({HOSTILE: HOSTILE}), []),
                                        (b"\xff\xfe", b"\x00\x01\xff", [])])
    read_some(moldau.bootstrap, HOSTILE, "hostile", 1)
    page = browse(moldau.http_port)
    page.open("topics/hostile/messages").shows(HOSTILE, "0xfffe")
    for row in page.all(".messages tr.rowlink"):
        row.click()
    page.shows("Headers", "000000  00 01 ff")
    page.open("groups").shows(HOSTILE)
    page.find(".rowlink").click()
    page.shows("Offsets", HOSTILE)
    assert page.run("return window.hacked") is None
    assert page.run("return document.querySelectorAll('main img, main script').length") == 0
    assert not page.problems()


def test_records_are_found_by_offset_and_filter_and_hexadecimal_is_shown(moldau, browse):
    create(moldau.bootstrap, "found")
    write(moldau.bootstrap, "found", [(f"key-{n}", f"value {n} {'needle' if n == 1234 else 'hay'}", [("trace", str(n))]) for n in range(3000)])
    page = browse(moldau.http_port)

    def choose(where):
        page.run(f"const s = document.querySelector('select[name=from]'); s.value = '{where}'; s.dispatchEvent(new Event('change'))")

    page.open("topics/found/messages").shows("as many as asked for", "value 2999", "Older")
    page.press("Older")
    page.shows("value 2949")
    page.fill("input[name=value]", "NEEDLE")
    page.press("Search")
    page.shows("value 1234 needle", "everything there was is looked through")
    page.fill("input[name=value]", "")
    page.fill("input[name=header]", "trace: 77")
    page.press("Search")
    page.shows("value 2077")
    choose("offset")
    page.fill("input[name=header]", "")
    page.fill("input[name=offset]", "1000")
    page.press("Search")
    page.shows("value 1000", "value 1049", "Go on")
    page.find(".messages tr.rowlink").click()
    page.press("Hex", ".detail")
    page.shows("76 61 6c 75 65")
    choose("live")
    page.press("Search")
    page.shows("Waiting for what comes")
    write(moldau.bootstrap, "found", [("late", "comes late", [])])
    page.shows("comes late")
    page.press("Cancel")
    page.shows("Cancelled")


def test_topics_are_made_changed_and_deleted_and_offsets_reset_after_a_look(moldau, browse):
    page = browse(moldau.http_port)
    page.open("topics").shows("There are no topics yet")
    page.press("Create topic")
    page.fill("dialog input[name=name]", "made here")
    page.press("Create", "dialog")
    page.find("dialog .error:not([hidden])")
    page.fill("dialog input[name=name]", "made-here")
    page.fill("dialog input[name=partitions]", "2")
    page.fill("dialog textarea[name=configs]", "retention.ms=3600000")
    page.press("Create", "dialog")
    page.shows("made-here", "2 partitions")
    page.press("Produce")
    page.fill("dialog input[name=key]", "k")
    page.fill("dialog textarea[name=value]", '{"made": true}')
    page.press("Produce", "dialog")
    page.wait(lambda: "offset 0" in page.find("dialog .note:not([hidden])").text, "where it was written")
    page.press("Cancel", "dialog")
    page.open("topics/made-here/settings").shows("3600000")
    page.find("button[aria-label='Change retention.ms']").click()
    page.fill("dialog input[name=value]", "7200000")
    page.press("Set", "dialog")
    page.shows("7200000")
    read_some(moldau.bootstrap, "g", "made-here", 1)
    page.open("groups/g").shows("Lag", "made-here")
    page.press("Reset offsets")
    page.press("Show what would change", "dialog")
    page.wait(lambda: "Nothing has changed yet" in page.find("dialog").text, "the plan")
    page.press("Move the offsets", "dialog")
    page.wait(lambda: page.find("#lag").text == "1", "the lag after the reset")
    page.open("topics/made-here").shows("made-here")
    page.press("Delete")
    assert not page.find("dialog button.danger").is_enabled()
    page.fill("dialog input[name=typed]", "made-here")
    page.press("Delete", "dialog")
    page.shows("There are no topics yet")


def test_the_keys_lead_through_the_pages(moldau, browse):
    create(moldau.bootstrap, "a-topic")
    create(moldau.bootstrap, "b-topic")
    page = browse(moldau.http_port)
    page.open("overview").shows("Healthy")
    page.keys("gt")
    page.shows("b-topic")
    page.keys("jj")
    page.keys(Keys.ENTER)
    page.shows("Replicas", "b-topic")
    page.keys("gt")
    page.shows("a-topic")
    page.keys("/")
    page.keys("a-t")
    eventually(lambda: "b-topic" not in page.text(), message="the search")
    page.keys(Keys.ESCAPE)
    page.keys("?")
    page.wait(lambda: "next and previous row" in page.find("dialog").text, "the keys")
    page.keys(Keys.ESCAPE)
    before = page.run("return getComputedStyle(document.body).color")
    page.keys(".")
    assert page.run("return getComputedStyle(document.body).color") != before
    page.keys(".")


def test_a_leader_that_is_killed_is_away_in_the_open_grid(cluster, browse):
    create(cluster.bootstrap, "isr", 3, 3)
    leader = cluster.leader("isr", 0)
    witness = next(node for node in cluster.nodes.values() if node is not leader)
    page = browse(int(witness.overrides["http.listener"].rsplit(":", 1)[1]))
    page.open("topics/isr").shows("Replicas", "in sync", "live")
    row = "tr[data-partition='0']"
    page.wait(lambda: len(page.all(f"{row} .cell.in_sync")) == 2, "two followers in sync")
    page.picture("isr-before")
    leader.kill()
    killed = time.monotonic()
    page.wait(lambda: page.all(f"{row} .cell.offline") and page.all(f"{row} .cell.leader"), "the new leader in the grid")
    print(f"shown after {time.monotonic() - killed:.2f} s")
    page.picture("isr-after")
    page.open("overview").shows("Working, with less in reserve", f"Broker {leader.id} is out of service", "2 / 3")
    page.picture("overview-after")


def test_where_no_controller_can_fence_them_nobody_says_that_the_dead_serve(cluster, browse):
    create(cluster.bootstrap, "t", 1, 3)
    witness, *others = cluster.nodes.values()
    port = int(witness.overrides["http.listener"].rsplit(":", 1)[1])
    page = browse(port)
    page.open("brokers").shows("in service")
    assert page.text().count("in service") == 3 and not page.all("#stale:not([hidden])")
    for node in others:
        node.kill()

    def states():
        return {one["id"]: one["state"] for one in call(port, "GET", "/api/v1/brokers")[1]["brokers"]}

    # One that the controllers fenced while they still could is out of service for good.
    eventually(lambda: states().pop(witness.id) == "in_service" and all(states()[node.id] in ("unknown", "not_heard_of", "down") for node in others),
               seconds=40, message="what this node knows")
    page.wait(lambda: page.text().count("in service") == 1, "the one broker that answers")
    page.wait(lambda: page.all("#stale:not([hidden])"), "what is said of all that is shown")
    overview = call(port, "GET", "/api/v1/overview")[1]
    assert overview["brokers"]["is_known"] is False and overview["reasons"][0]["code"] in ("NO_MAJORITY", "NO_CONTROLLER"), overview
    page.open("overview").shows("? / 3", "unknown: no majority")


def test_a_phone_shows_each_page_in_its_width_with_what_a_finger_can_hit(moldau, browse):
    create(moldau.bootstrap, "payments.settlement.events.with-a-rather-long-name", 3)
    write(moldau.bootstrap, "payments.settlement.events.with-a-rather-long-name", [(f"k{n}", "v" * 300, []) for n in range(9)])
    read_some(moldau.bootstrap, "billing", "payments.settlement.events.with-a-rather-long-name", 1)
    page = browse(moldau.http_port)
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    topic = "topics/payments.settlement.events.with-a-rather-long-name"
    try:
        for address, text in [("overview", "Healthy"), ("topics", "in sync"), (topic, "Replicas"), (f"{topic}/messages", "looked through"),
                              (f"{topic}/settings", "retention.ms"), (f"{topic}/groups", "billing"), ("groups", "billing"),
                              ("groups/billing", "Offsets"), ("brokers", "in service"), ("brokers/1", "log.dirs"), ("quorum", "leader")]:
            page.open(address).shows(text)
            page.picture("phone-" + address.replace("/", "-"))
            wrong = page.run("""
                const wrong = [];
                for (const one of document.querySelectorAll("#shell, #shell *")) {
                    const box = one.getBoundingClientRect();
                    if (!box.width || !box.height) continue;
                    if (box.right > innerWidth + 1) wrong.push(["too far right", one.tagName, one.className, one.textContent.slice(0, 40)]);
                    if (one.matches("button, a, select, label.check") && box.height < 32) wrong.push(["too low", one.tagName, one.className, one.textContent.slice(0, 40)]);
                }
                return wrong;""")
            assert not wrong, (address, wrong)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_broker_that_hangs_does_not_hide_the_groups_of_others(cluster):
    create(cluster.bootstrap, "t", 1, 3)
    write(cluster.bootstrap, "t", [("k", "v", [])])
    read_some(cluster.bootstrap, "g", "t", 1)
    ports = {node.id: int(node.overrides["http.listener"].rsplit(":", 1)[1]) for node in cluster.nodes.values()}
    coordinator = call(next(iter(ports.values())), "GET", "/api/v1/groups/g")[1]["coordinator"]
    hanging = next(node for node in cluster.nodes.values() if node.id != coordinator)
    hanging.pause()
    try:
        status, told = call(ports[coordinator], "GET", "/api/v1/groups?details=true")
        assert status == 200 and [group["group"] for group in told["groups"]] == ["g"], told
        assert told["silent_brokers"] == [hanging.id]
        assert call(ports[coordinator], "GET", "/api/v1/groups/g")[0] == 200
        assert call(ports[coordinator], "GET", "/api/v1/groups/none")[0] in (404, 504)
    finally:
        hanging.resume()


@pytest.fixture
def apart(tmp_path):
    """A controller without a broker, and a broker without a controller."""
    nodes = []
    for role in ("controller", "broker"):
        folder = tmp_path / role
        folder.mkdir()
        nodes.append(Moldau(folder, process_roles=role))
    controller, broker = nodes
    quorum = f"7@127.0.0.1:{controller.controller_port}"
    controller.settings.update({"node.id": "7", "listeners": f"CONTROLLER://127.0.0.1:{controller.controller_port}", "controller.quorum.voters": quorum})
    del controller.settings["advertised.listeners"]
    # What is asked whether the node answers yet: the one listener it has.
    controller.port = controller.controller_port
    broker.settings.update({"listeners": f"PLAINTEXT://127.0.0.1:{broker.port}", "controller.quorum.voters": quorum})
    try:
        yield controller.start(), broker.start()
    finally:
        for node in reversed(nodes):
            node.kill()
            assert "panicked at" not in node.log(), node.log()


def test_a_controller_alone_shows_the_metadata_and_names_brokers_for_the_rest(apart, browse):
    controller, broker = apart
    port = controller.http_port
    create(broker.bootstrap, "orders", 3, 1, **{"min.insync.replicas": "1"})
    eventually(lambda: call(port, "GET", "/api/v1/topics/orders")[0] == 200, 20, "the topic at the controller")

    status, told = call(port, "GET", "/api/v1/overview")
    assert (status, told["node_id"], told["has_broker"], told["read_only"], told["verdict"]) == (200, 7, False, True, "healthy")
    assert (told["brokers"], told["topics"], told["partitions"]["total"]) == ({"registered": 1, "in_service": 1, "is_known": True}, 1, 3)
    assert told["controller"]["leader_id"] == 7 and told["is_ready"]
    # Of what metadata says, both say the same.
    for path in ("/topics", "/topics/orders"):
        eventually(lambda: call(port, "GET", f"/api/v1{path}") == call(broker.http_port, "GET", f"/api/v1{path}"), 20, f"the same {path}")
    brokers = call(port, "GET", "/api/v1/brokers")[1]["brokers"]
    assert [(one["id"], one["state"], one["is_this_node"], one["partitions_led"]) for one in brokers] == [(1, "in_service", False, 3)]
    here, there = (call(one.http_port, "GET", "/api/v1/quorum")[1] for one in apart)
    assert [(r["id"], r["role"], r["endpoints"]) for r in here["replicas"]] == [(r["id"], r["role"], r["endpoints"]) for r in there["replicas"]]
    assert call(port, "GET", "/api/v1/history")[0] == 200

    for method, path, body in [("GET", "/groups", None), ("GET", "/groups/g", None), ("GET", "/topics/orders/offsets", None),
                               ("GET", "/topics/orders/configs", None), ("GET", "/topics/orders/messages", None), ("GET", "/brokers/1/log-dirs", None),
                               ("GET", "/brokers/1/configs", None), ("GET", "/topics/orders/groups", None), ("POST", "/topics", {"name": "u"}),
                               ("DELETE", "/topics/orders", {}), ("POST", "/topics/orders/messages", {"value": "v"})]:
        status, answer = call(port, method, f"/api/v1{path}", body)
        assert (status, answer["error"]["code"]) == (501, "NO_BROKER"), path
    assert call(port, "GET", "/api/v1/topics", Host="evil.example.com")[0] == 403

    page = browse(port)
    page.open("overview").shows("Healthy", "node 7", "read-only", "Processor", "Memory")
    assert "Records written" not in page.text() and "Logs on disk" not in page.text()
    page.picture("controller-overview")
    page.open("topics").shows("orders", "in sync")
    assert "Create topic" not in page.text()
    page.open("topics/orders").shows("Replicas", "Broker 1", "leader")
    page.open("brokers").shows("Broker 1", "in service")
    page.open("quorum").shows("Node 7", "leader", "up to date")
    for place in ("groups", "topics/orders/messages", "topics/orders/settings", "brokers/1"):
        page.open(place).shows("Brokers tell this", "Broker 1 at 127.0.0.1, at a port of its own")
        assert page.run("return document.querySelectorAll('#elsewhere a').length") == 0, "it would lead back here"
    page.picture("controller-groups")
    create(broker.bootstrap, "payments")
    page.open("topics").shows("orders", "payments")


def test_pages_elsewhere_cannot_make_a_browser_call(moldau):
    port = moldau.http_port
    topic = {"name": "t"}
    assert call(port, "GET", "/api/v1/topics", Host="evil.example.com")[0] == 403
    assert call(port, "GET", "/api/v1/topics", Sec_Fetch_Site="cross-site")[0] == 403
    assert call(port, "POST", "/api/v1/topics", topic, Origin="http://evil.example.com")[0] == 403
    assert call(port, "POST", "/api/v1/topics", topic, Content_Type="text/plain")[0] == 415
    assert call(port, "POST", "/api/v1/topics", topic, Origin=f"http://127.0.0.1:{port}")[0] == 200
    assert [t["name"] for t in call(port, "GET", "/api/v1/topics")[1]["topics"]] == ["t"]


def test_where_it_is_for_reading_nothing_can_be_changed(start_moldau, browse):
    node = start_moldau(http_ui_readonly="true")
    create(node.bootstrap, "t")
    for method, path, body in [("POST", "/topics", {"name": "u"}), ("DELETE", "/topics/t", {}), ("POST", "/topics/t/messages", {"value": "v"}),
                               ("PATCH", "/topics/t/configs", {"set": {"retention.ms": "1"}}), ("POST", "/groups/g/reset", {"to": "latest"})]:
        status, answer = call(node.http_port, method, f"/api/v1{path}", body)
        assert (status, answer["error"]["code"]) == (403, "READ_ONLY"), path
    page = browse(node.http_port)
    page.open("topics/t").shows("read-only", "Replicas")
    assert "Delete" not in page.text() and "Produce" not in page.text()


def test_a_thousand_topics_are_a_page_at_once(moldau, browse):
    admin = AdminClient({"bootstrap.servers": moldau.bootstrap})
    futures = admin.create_topics([NewTopic(f"topic-{n:04}", 1, 1) for n in range(1000)], request_timeout=60)
    for future in futures.values():
        future.result(60)
    page = browse(moldau.http_port)
    page.open("topics").shows("1,000 topics, page 1 of 20")
    asked = page.run("""
        const [done] = performance.getEntriesByName("interactive");
        return performance.getEntriesByType("resource").filter((one) => one.responseEnd > 0 && one.responseEnd < done.startTime)
            .map((one) => ({ path: new URL(one.name).pathname, bytes: one.decodedBodySize }));""")
    print("interactive after ms:", page.run("return Math.round(performance.getEntriesByName('interactive')[0].startTime)"))
    # What takes time are requests, bytes and rows, and neither grows with the topics: one page of them, and of the
    # console's own files those alone that this page needs.
    calls = [one["path"] for one in asked if one["path"].startswith("/api/")]
    assert sorted(calls) == ["/api/v1/overview", "/api/v1/topics"], calls
    assert len(page.all("tbody tr")) == 50
    files = [one["path"].rsplit("/", 1)[1] for one in asked if one["path"].startswith("/ui/")]
    assert "topics.js" in files and not {"messages.js", "groups.js", "brokers.js", "overview.js"} & set(files), files
    assert len(asked) <= 14 and sum(one["bytes"] for one in asked) <= 80_000, asked
    page.wait(lambda: page.run("return performance.getEntriesByType('resource').some((one) => one.name.endsWith('messages.js'))"),
              "the other pages' files, once this one is there")
    page.find("input.search").send_keys("0777")
    page.shows("topic-0777", "1 topic")
    page.picture("thousand")


def test_the_calls_say_what_is_so_and_refuse_what_makes_no_sense(moldau):
    port = moldau.http_port
    create(moldau.bootstrap, "t", 2)
    write(moldau.bootstrap, "t", [(str(n), f"v{n}", []) for n in range(10)])
    read_some(moldau.bootstrap, "g", "t", 1)

    def get(path, status=200):
        answered, body = call(port, "GET", f"/api/v1{path}")
        assert answered == status, (path, body)
        return body

    listed = get("")
    assert {"method": "GET", "path": "/api/v1/quorum"}.items() <= listed["calls"][-1].items()
    overview = get("/overview")
    assert (overview["verdict"], overview["topics"], overview["read_only"]) == ("healthy", 2, False)
    # Kafka's own topics may have come at the same time, and stand before it.
    eventually(lambda: any(change["kind"] == "topic" and change["text"].endswith(" t") for change in get("/overview")["changes"]),
               message="the news of t")
    topics = get("/topics?sizes=true")["topics"]
    assert [(t["name"], t["partitions"]) for t in topics] == [("t", 2)] and topics[0]["size_bytes"] > 0
    assert get("/topics?internal=true&search=OFFSETS")["total"] == 1
    partitions = get("/topics/t")["partitions"]
    assert [p["replicas"] for p in partitions] == [[{"broker": 1, "state": "leader"}]] * 2
    assert sum(p["end"] for p in get("/topics/t/offsets")["partitions"]) == 10
    assert {c["name"]: c["source"] for c in get("/topics/t/configs")["configs"]}["retention.ms"] == "default"
    group = get("/groups/g")
    # Of partitions in which nothing was committed there is no lag.
    left = sum(row["end"] - row["committed"] for row in group["offsets"])
    assert (group["lag"], group["type"], group["members"]) == (left, "classic", []) and left > 0
    assert get("/groups?details=true")["groups"][0]["lag"] == left
    assert get("/topics/t/groups")["groups"][0]["group"] == "g"
    assert get("/brokers")["brokers"][0]["state"] == "in_service"
    assert get("/brokers/1/log-dirs")["log_dirs"][0]["log_bytes"] > 0
    assert get("/quorum")["leader_id"] == 1

    def scan(query):
        lines = [json.loads(line) for line in get(f"/topics/t/messages?{query}").splitlines()]
        return [line["value"]["text"] for line in lines if line["type"] == "record"], lines[-1]

    newest, end = scan("limit=4")
    assert len(newest) == 4 and end["reason"] == "limit"
    rest, end = scan("before=" + ",".join(f"{p}:{at}" for p, at in end["before"].items()))
    assert sorted(newest + rest) == sorted(f"v{n}" for n in range(10)) and end["reason"] == "end"
    first, end = scan("from=oldest&limit=3")
    rest, _ = scan("at=" + ",".join(f"{p}:{at}" for p, at in end["at"].items()))
    assert sorted(first + rest) == sorted(f"v{n}" for n in range(10))
    assert scan("value=V7")[0] == ["v7"]

    status, plan = call(port, "POST", "/api/v1/groups/g/reset", {"to": "latest"})
    assert (status, plan["dry_run"]) == (200, True) and [row["to"] - row["from"] for row in plan["offsets"]] == [left]
    assert get("/groups/g")["lag"] == left
    assert call(port, "POST", "/api/v1/groups/g/reset", {"to": "latest", "dry_run": False})[0] == 200
    assert get("/groups/g")["lag"] == 0

    for path, status in [("/topics/none", 404), ("/groups/none", 404), ("/topics/t/messages?from=x", 400), ("/topics/t/messages?partition=9", 400),
                         ("/topics?page=0", 400), ("/topics?page_size=1000", 400), ("/brokers/x/configs", 400)]:
        get(path, status)
    for path, body, status in [("/topics", {"name": "t"}, 409), ("/topics", {}, 400), ("/topics/t/messages", {"value_hex": "f"}, 400),
                               ("/topics/t/messages", {"partition": 7}, 400), ("/groups/g/reset", {"to": "offset"}, 400)]:
        assert call(port, "POST", f"/api/v1{path}", body)[0] == status, path


def write_large(bootstrap, topic, count, value, **settings):
    producer = Producer({"bootstrap.servers": bootstrap, "queue.buffering.max.kbytes": 2_000_000, **settings})
    for n in range(count):
        producer.produce(topic, key=str(n), value=value)
    assert producer.flush(120) == 0


def scanned(http_port, topic, query):
    """The keys of the records that a scan gives, and its last line."""
    lines = [json.loads(line) for line in call(http_port, "GET", f"/api/v1/topics/{topic}/messages?{query}")[1].splitlines()]
    return [line["key"]["text"] for line in lines if line["type"] == "record"], lines[-1]


def most_memory_mib(node):
    status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def test_a_scan_of_records_that_decompress_to_much_takes_little_memory(moldau):
    create(moldau.bootstrap, "large")
    # Several in a batch, which is nearly nothing on disk.
    write_large(moldau.bootstrap, "large", 600, "needle" + "a" * (1 << 20), **{
        "compression.type": "gzip", "message.max.bytes": 100_000_000, "batch.size": 40_000_000, "linger.ms": 200})
    for query in ("value=needle&limit=1000&max_mib=1024", "value=needle&limit=1000&max_mib=1024&from=oldest"):
        keys, end = scanned(moldau.http_port, "large", query)
        assert len(keys) > 100 and end["reason"] in ("bytes", "limit", "end"), (len(keys), end)
        assert most_memory_mib(moldau) < 450


def test_the_newest_of_large_records_are_shown_and_one_can_go_on_to_the_first(moldau):
    create(moldau.bootstrap, "large", 2)
    write_large(moldau.bootstrap, "large", 120, "a" * 900_000)
    seen, query = [], "limit=500&max_mib=8"
    for _ in range(100):
        keys, end = scanned(moldau.http_port, "large", query)
        seen += keys
        assert end["type"] == "done", end
        if end["reason"] == "end":
            break
        assert keys, end
        query = "limit=500&max_mib=8&before=" + ",".join(f"{p}:{at}" for p, at in end["before"].items())
    assert sorted(map(int, seen)) == list(range(120))


def test_json_that_is_nested_too_deep_is_shown_as_text(moldau, browse):
    create(moldau.bootstrap, "deep")
    write(moldau.bootstrap, "deep", [("deep", "[" * 30_000 + "]" * 30_000, []), ("flat", '{"flat": [1, 2]}', [])])
    page = browse(moldau.http_port)
    page.open("topics/deep/messages").shows("[[[[", "flat")
    for row in page.all(".messages tr.rowlink"):
        row.click()
    titles = page.wait(lambda: [e.text for e in page.all(".detail .payload .title button.switch")], "the records in full")
    assert titles.count("JSON") == 1 and titles.count("Hex") == 4, titles
    assert not page.problems()


def test_what_tells_of_the_cluster_is_not_told_under_a_name_of_somebody_elses(moldau):
    for path, foreign in [("/metrics", 403), ("/public_metrics", 403), ("/restart-safe", 403), ("/livez", 200), ("/readyz", 200)]:
        assert call(moldau.http_port, "GET", path, Host="evil.example.com")[0] == foreign, path
        assert call(moldau.http_port, "GET", path, Host="moldau:9644")[0] == 200, path


def test_a_node_with_open_pages_stops_at_once(moldau):
    connection = http.client.HTTPConnection("127.0.0.1", moldau.http_port, timeout=30)
    connection.request("GET", "/api/v1/events")
    answer = connection.getresponse()
    assert answer.readline() == b"event: hello\n"
    moldau.stop()
    assert b"hello" not in answer.read()
    connection.close()
