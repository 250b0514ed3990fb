"""Every call of Kafka's administrative client in Java (tests/apps/java/AdminCalls.java), to Moldau and to Apache Kafka."""

import subprocess

from conftest import SETUP, served

# What Apache Kafka 4.3.0 answers to these is told by the differential test; here is why Moldau may answer otherwise.
# Calls whose API, or version of it, may not be served yet; docs/API_SUPPORT.md has the reasons.
MAY_BE_UNSERVED = {
    "listOffsets/EarliestPendingUploadSpec": (2, 11),
    "createAcls": (30, 1), "describeAcls": (29, 1), "deleteAcls": (31, 1),
    "createDelegationToken": (38, 1), "renewDelegationToken": (39, 1), "expireDelegationToken": (40, 1),
    "describeDelegationToken": (41, 1),
    "describeClientQuotas": (48, 0), "alterClientQuotas": (49, 0),
    "describeUserScramCredentials": (50, 0), "alterUserScramCredentials": (51, 0),
    "updateFeatures": (57, 0),
    "describeShareGroups": (77, 1), "listShareGroupOffsets": (90, 0), "alterShareGroupOffsets": (91, 0),
    "deleteShareGroupOffsets": (92, 0), "describeStreamsGroups": (89, 0),
    # Without offsets that were set there is no share group to delete.
    "deleteShareGroups": (91, 0),
}
UNSERVED = {"UnsupportedVersionException", "GroupIdNotFoundException"}


def calls(node):
    """{call: "ok" or the exception's class}"""
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", f"{SETUP}/jars/*:{SETUP}/apps/classes",
         "AdminCalls", node.bootstrap], text=True, capture_output=True, timeout=300)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return {call: outcome.split(":")[0] for call, outcome in (line.split(": ", 1) for line in done.stdout.splitlines())}


def test_every_call_of_javas_administrator_ends_as_with_apache_kafka(moldau, kafka):
    ours, theirs = calls(moldau), calls(kafka)
    assert "uncovered" not in ours, "every method of Admin is called"
    assert len(ours) > 70 and set(ours) == set(theirs)
    advertised = served(moldau.bootstrap)
    differ = {}
    for call, outcome in ours.items():
        key, version = MAY_BE_UNSERVED.get(call, (18, 0))
        if key not in advertised or advertised[key][1] < version:
            right = outcome in UNSERVED
        else:
            right = outcome == theirs[call]
        if not right:
            differ[call] = f"{outcome}, and {theirs[call]} of Apache Kafka"
    assert not differ
