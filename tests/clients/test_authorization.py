"""Access control entries by Kafka's own tool and by ours, at one node with an authorizer."""

from conftest import eventually

AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}


def said(done):
    """Output, exit code, and the first line of standard error. What is listed has no order of its own."""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("SLF4J")]
    return sorted(done.stdout.splitlines()), done.returncode, errors[:1]


def test_kafkas_own_tool_and_ours_make_list_and_remove_the_same_entries(start_moldau, tools, java):
    moldau = start_moldau(**AUTHORIZER)
    at = ("kafka-acls", "--bootstrap-server", moldau.bootstrap)
    alice, bob = ("--allow-principal", "User:alice"), ("--deny-principal", "User:bob", "--deny-host", "10.0.0.1")
    for add in [
        ("--topic", "rivers", *alice, "--operation", "Read", "--operation", "DescribeConfigs"),
        ("--topic", "riv", "--resource-pattern-type", "prefixed", *alice, *bob),
        ("--producer", "--topic", "rivers", "--transactional-id", "payments", *alice),
        ("--consumer", "--topic", "rivers", "--group", "readers", *alice),
        ("--cluster", *bob),
    ]:
        first, second = (java, tools) if "--producer" in add else (tools, java)
        made = said(first(*at, "--add", *add))
        assert made[1] == 0, made
        # All of it is there already, the other tool finds.
        again = said(second(*at, "--add", *add))
        assert again[1] == 0 and all("already exists" in line for line in again[0] if line), again
        assert said(first(*at, "--add", *add)) == again
    lists = [("--list",), ("--list", "--topic", "rivers"), ("--list", "--topic", "rivers", "--resource-pattern-type", "match"),
             ("--list", "--principal", "User:alice"), ("--list", "--group", "nobody")]
    for line in lists:
        ours, theirs = said(tools(*at, *line)), said(java(*at, *line))
        assert ours == theirs, line
    for line in [("--add", "--topic", "t"), ("--list", "--add"), ("--add", "--producer"), ("--help",),
                 ("--add", "--topic", "t", *alice, "--resource-pattern-type", "match")]:
        assert said(tools(*at, *line)) == said(java(*at, *line)), line
    # Entries outlive the process.
    before = said(tools(*at, "--list"))
    moldau.stop()
    moldau.start()
    eventually(lambda: said(tools(*at, "--list")) == before, message="the entries")
    removed = said(java(*at, "--remove", "--force", "--topic", "riv", "--resource-pattern-type", "prefixed"))
    assert removed[1] == 0, removed
    left = said(tools(*at, "--list"))[0]
    assert not any("name=riv," in line for line in left) and any("name=rivers" in line for line in left)
    assert said(tools(*at, "--remove", "--force", "--cluster", *bob))[1] == 0
    assert not any("kafka-cluster" in line for line in said(java(*at, "--list"))[0])


def test_who_is_nobody_may_do_nothing(start_moldau, tools):
    moldau = start_moldau(**{**AUTHORIZER, "super.users": "User:admin"})
    at = ("--bootstrap-server", moldau.bootstrap)
    listed = tools("kafka-topics", *at, "--list")
    assert listed.returncode == 0 and not listed.stdout.strip()
    created = tools("kafka-topics", *at, "--create", "--topic", "a")
    assert created.returncode == 1 and "Authorization failed." in created.stdout + created.stderr
    acls = tools("kafka-acls", *at, "--list")
    assert acls.returncode == 1 and "ClusterAuthorizationException" in acls.stdout


def test_without_an_authorizer_entries_cannot_be_made(moldau, tools, java):
    line = ("kafka-acls", "--bootstrap-server", moldau.bootstrap, "--add", "--topic", "t", "--allow-principal", "User:a")
    ours, theirs = tools(*line), java(*line)
    assert (ours.returncode, theirs.returncode) == (1, 1)
    reason = "SecurityDisabledException: No Authorizer is configured"
    assert reason in ours.stdout and reason in theirs.stdout
