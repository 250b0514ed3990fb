//! Registrations: new, repeated, clean, unclean and refused.

use expect_test::expect;
use moldau_cluster::RegisterBroker;
use moldau_model::Uuid;

use super::super::testing::{Cluster, directory, refusal};
use super::*;

fn refused(name: &str, session: SessionState, change: impl FnOnce(&mut RegisterBroker)) -> String {
    let mut cluster = Cluster::with(2, &[("metadata.version", 20)], &[]);
    let mut request = cluster.registration(1, false);
    change(&mut request);
    let error =
        cluster.decide(|image, inputs| register_broker(image, &request, session, inputs)).unwrap_err();
    refusal(name, &error)
}

#[test]
fn what_may_not_register_is_told_why() {
    use SessionState::{Live, NotLive};
    let text = [
        refused("cluster", NotLive, |r| r.cluster_id = "other".into()),
        refused("live", Live, |_| {}),
        refused("no directory", NotLive, |r| r.log_dirs.clear()),
        refused("reserved directory", NotLive, |r| r.log_dirs = vec![Uuid::ONE]),
        refused("directory twice", NotLive, |r| r.log_dirs.push(directory(1))),
        refused("another's directory", NotLive, |r| r.log_dirs = vec![directory(2)]),
        refused("feature", NotLive, |r| r.features[0].max = 19),
        refused("no features", NotLive, |r| r.features.clear()),
        refused("protocol", NotLive, |r| r.listeners[0].security_protocol = 9),
    ];
    expect![[r#"
        cluster: 104 Expected cluster ID test, but got cluster ID other
        live: 101 Another broker is registered with that broker id. If the broker was recently restarted this should self-resolve once the heartbeat manager expires the broker's session.
        no directory: 119 No directories specified in request
        reserved directory: 119 Reserved directory ID in request
        directory twice: 119 Duplicate directory ID in request
        another's directory: 119 Broker 2 is already registered with directory ysrKysrKysrKysrKysrKyg
        feature: 35 Unable to register because the broker does not support finalized version 20 of metadata.version. The broker wants a version between 0 and 19, inclusive.
        no features: 35 Unable to register because the broker does not support finalized version 20 of metadata.version. The broker wants a version between 0 and 0, inclusive.
        protocol: 119 Unknown security protocol 9 of listener PLAINTEXT
    "#]].assert_eq(&text.concat());
}

#[test]
fn a_new_incarnation_gets_a_later_epoch_and_starts_fenced() {
    let mut cluster = Cluster::new(1);
    let before = cluster.epoch(1);
    let offset = cluster.next_offset();
    cluster.register(1, true);
    let broker = cluster.image.broker(BrokerId(1)).unwrap();
    assert!(before < broker.epoch && broker.fenced);
    assert_eq!(broker.epoch.0, offset.0);
}

#[test]
fn a_repetition_changes_nothing_even_while_the_session_lives() {
    let mut cluster = Cluster::new(1);
    let request = cluster.registration(1, false);
    let again = |cluster: &mut Cluster, request: &RegisterBroker, session| {
        cluster.decide(|image, inputs| register_broker(image, request, session, inputs)).unwrap()
    };
    let first = again(&mut cluster, &request, SessionState::NotLive);
    cluster.unfence(1);
    let (offset, epoch) = (cluster.next_offset(), first.broker_epoch);
    assert_eq!(again(&mut cluster, &request, SessionState::Live).broker_epoch, epoch);
    assert_eq!(cluster.next_offset(), offset);

    // With another rack it is amended: the epoch and the broker's state stay.
    let moved = RegisterBroker { rack: Some("a".into()), ..request };
    assert_eq!(again(&mut cluster, &moved, SessionState::Live).broker_epoch, epoch);
    let broker = cluster.image.broker(BrokerId(1)).unwrap();
    assert_eq!((broker.rack.as_deref(), broker.fenced), (Some("a"), false));
}
