//! The states of a classic group.

use std::fmt;

/// Kafka's ClassicGroupState. `Dead` is what an unknown group is described as; no group that is kept has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// No members; perhaps offsets.
    Empty,
    /// Members are to join (again).
    PreparingRebalance,
    /// All have joined; the leader's assignment is awaited.
    CompletingRebalance,
    /// Everyone has or can get an assignment.
    Stable,
    Dead,
}

impl GroupState {
    /// The arrows of the state machine.
    pub(crate) fn may_become(self, next: Self) -> bool {
        match next {
            Self::Empty | Self::CompletingRebalance => self == Self::PreparingRebalance,
            Self::PreparingRebalance => {
                matches!(self, Self::Empty | Self::CompletingRebalance | Self::Stable)
            }
            Self::Stable => self == Self::CompletingRebalance,
            Self::Dead => true,
        }
    }

    /// The name in responses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::GroupState::{self, CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};

    #[test]
    fn the_arrows_are_kafkas() {
        let all = [Empty, PreparingRebalance, CompletingRebalance, Stable, Dead];
        let arrows = [
            (Empty, PreparingRebalance),
            (PreparingRebalance, Empty),
            (PreparingRebalance, CompletingRebalance),
            (CompletingRebalance, PreparingRebalance),
            (CompletingRebalance, Stable),
            (Stable, PreparingRebalance),
        ];
        for from in all {
            for to in all {
                let expected = to == Dead || arrows.contains(&(from, to));
                assert_eq!(GroupState::may_become(from, to), expected, "{from} to {to}");
            }
        }
    }
}
