//! Raft's clock runs where it decides something. openraft ticks five times in each heartbeat's interval on every node, and
//! each tick tells everybody who watches its metrics. A leader needs ticks for its heartbeats alone, which are sent from
//! here, once in an interval, and not at all where nobody is there to hear them. Everybody else is ticked: only so is it
//! noticed that a leader fell silent.

use std::time::Duration;

use openraft::ServerState;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::time::MissedTickBehavior;

use super::node::Node;

/// What keeps a node's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// Raft's own ticks.
    Ticks,
    /// Heartbeats to others, from here.
    Heartbeats,
    /// Nothing: there is nobody else.
    None,
}

fn clock(state: ServerState, others: usize) -> Clock {
    match (state, others) {
        (ServerState::Leader, 0) => Clock::None,
        (ServerState::Leader, _) => Clock::Heartbeats,
        _ => Clock::Ticks,
    }
}

/// Gives the ticks back when the task ends before the node does.
struct Parked(Node);

impl Drop for Parked {
    fn drop(&mut self) {
        self.0.runtime_config().tick(true);
    }
}

/// Keeps the time of a node, for as long as the task lives.
pub(super) async fn keep(raft: Node, heartbeat_interval: Duration) {
    let mut metrics = raft.server_metrics();
    let parked = Parked(raft);
    let mut heartbeats = tokio::time::interval(heartbeat_interval);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Members, not voters: who only reads along has to hear of the leader as well.
        let clock = {
            let now = metrics.borrow_watched();
            // One that was removed leads on until that is committed, and is none of them.
            let nodes = now.membership_config.membership().nodes();
            clock(now.state, nodes.filter(|(id, _)| **id != now.id).count())
        };
        parked.0.runtime_config().tick(clock == Clock::Ticks);
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            _ = heartbeats.tick(), if clock == Clock::Heartbeats => {
                if parked.0.trigger().heartbeat().await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_goes_without_ticks_and_only_alone_without_heartbeats() {
        for state in [ServerState::Learner, ServerState::Follower, ServerState::Candidate] {
            for others in 0..4 {
                assert_eq!(clock(state, others), Clock::Ticks, "{state:?} and {others}");
            }
        }
        assert_eq!(clock(ServerState::Leader, 0), Clock::None);
        assert_eq!(clock(ServerState::Leader, 1), Clock::Heartbeats);
        assert_eq!(clock(ServerState::Leader, 2), Clock::Heartbeats);
    }
}
