//! Raft's requests and answers as messages, and back.

use std::io;

use moldau_cluster::rpc::raft as wire;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::vote::{RaftLeaderId, RaftVote};
use tonic::Status;

use super::codec::{decode_entry, encode_entry};
use super::types::{LogId, TypeConfig, Vote, log_id};

/// What a message must have and has not.
pub(super) fn missing(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message without {what}"))
}

/// How a peer is told that its message makes no sense.
pub(super) fn refused(error: &io::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) fn vote_to_wire(vote: &Vote) -> wire::Vote {
    let leader = vote.leader_id();
    wire::Vote { term: leader.term(), node_id: *leader.node_id(), committed: vote.is_committed() }
}

pub(super) fn vote_from_wire(vote: Option<wire::Vote>) -> io::Result<Vote> {
    let vote = vote.ok_or_else(|| missing("a vote"))?;
    Ok(Vote::from_leader_id(RaftLeaderId::new(vote.term, vote.node_id), vote.committed))
}

pub(super) fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, index: id.index }
}

pub(super) fn log_id_from_wire(id: wire::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub(super) fn vote_request_to_wire(
    request: &VoteRequest<TypeConfig>,
    leader_is_gone: bool,
) -> wire::VoteRequest {
    wire::VoteRequest {
        leader_is_gone,
        vote: Some(vote_to_wire(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to_wire),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_request_from_wire(request: wire::VoteRequest) -> io::Result<VoteRequest<TypeConfig>> {
    Ok(VoteRequest {
        vote: vote_from_wire(request.vote)?,
        last_log_id: request.last_log_id.map(log_id_from_wire),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(super) fn vote_response_from_wire(response: wire::VoteResponse) -> io::Result<VoteResponse<TypeConfig>> {
    Ok(VoteResponse {
        vote: vote_from_wire(response.vote)?,
        vote_granted: response.granted,
        last_log_id: response.last_log_id.map(log_id_from_wire),
    })
}

/// The request, cut behind the first entries that together are longer than `bytes_max`; and the last entry's id if it
/// was.
pub(super) fn append_to_wire(
    request: AppendEntriesRequest<TypeConfig>,
    bytes_max: usize,
) -> (wire::AppendEntriesRequest, Option<LogId>) {
    let mut entries = Vec::with_capacity(request.entries.len());
    let mut bytes = 0;
    let mut cut = None;
    let count = request.entries.len();
    for entry in &request.entries {
        let row = encode_entry(entry);
        bytes += row.len();
        entries.push(wire::Entry { index: entry.log_id.index, row });
        if bytes >= bytes_max && entries.len() < count {
            cut = Some(entry.log_id);
            break;
        }
    }
    let message = wire::AppendEntriesRequest {
        vote: Some(vote_to_wire(&request.vote)),
        previous_log_id: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries,
        leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
    };
    (message, cut)
}

pub(super) fn append_from_wire(
    request: wire::AppendEntriesRequest,
) -> io::Result<AppendEntriesRequest<TypeConfig>> {
    let entry = |entry: wire::Entry| decode_entry(entry.index, entry.row);
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(request.vote)?,
        prev_log_id: request.previous_log_id.map(log_id_from_wire),
        entries: request.entries.into_iter().map(entry).collect::<io::Result<_>>()?,
        leader_commit: request.leader_commit.map(log_id_from_wire),
    })
}

pub(super) fn append_response_to_wire(
    response: AppendEntriesResponse<TypeConfig>,
) -> wire::append_entries_response::Outcome {
    use wire::append_entries_response::Outcome;
    match response {
        AppendEntriesResponse::Success => Outcome::Success(wire::Done {}),
        AppendEntriesResponse::PartialSuccess(last) => {
            Outcome::Partial(wire::PartialSuccess { last_log_id: last.as_ref().map(log_id_to_wire) })
        }
        AppendEntriesResponse::Conflict => Outcome::Conflict(wire::Done {}),
        AppendEntriesResponse::HigherVote(vote) => Outcome::HigherVote(vote_to_wire(&vote)),
    }
}

pub(super) fn append_response_from_wire(
    outcome: Option<wire::append_entries_response::Outcome>,
) -> io::Result<AppendEntriesResponse<TypeConfig>> {
    use wire::append_entries_response::Outcome;
    Ok(match outcome.ok_or_else(|| missing("an outcome"))? {
        Outcome::Success(_) => AppendEntriesResponse::Success,
        Outcome::Partial(partial) => {
            AppendEntriesResponse::PartialSuccess(partial.last_log_id.map(log_id_from_wire))
        }
        Outcome::Conflict(_) => AppendEntriesResponse::Conflict,
        Outcome::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from_wire(Some(vote))?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::entry;
    use super::*;

    #[test]
    fn a_request_is_cut_where_it_is_long_enough_and_says_where() {
        let vote = Vote::from_leader_id(RaftLeaderId::new(3, 1), true);
        let request = |lengths: &[usize]| AppendEntriesRequest::<TypeConfig> {
            vote,
            prev_log_id: Some(log_id(2, 9)),
            entries: lengths.iter().zip(10..).map(|(length, index)| entry(3, index, *length)).collect(),
            leader_commit: Some(log_id(2, 8)),
        };
        for (lengths, count, cut) in [
            (&[10, 10, 10][..], 3, None),
            (&[10, 200, 10], 2, Some(log_id(3, 11))),
            (&[10, 10, 200], 3, None),
            (&[200, 10, 10], 1, Some(log_id(3, 10))),
            (&[], 0, None),
        ] {
            let (message, found) = append_to_wire(request(lengths), 100);
            assert_eq!((message.entries.len(), found), (count, cut), "{lengths:?}");
            let back = append_from_wire(message).unwrap();
            assert_eq!(back.entries, request(lengths).entries[..count]);
            assert_eq!((back.vote, back.prev_log_id, back.leader_commit), {
                let request = request(lengths);
                (request.vote, request.prev_log_id, request.leader_commit)
            });
        }
    }

    #[test]
    fn answers_are_the_same_on_the_other_side() {
        let vote = Vote::from_leader_id(RaftLeaderId::new(3, 1), false);
        for response in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2))),
            AppendEntriesResponse::PartialSuccess(None),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(vote),
        ] {
            let wire = append_response_to_wire(response.clone());
            assert_eq!(append_response_from_wire(Some(wire)).unwrap(), response);
        }
        assert!(append_response_from_wire(None).is_err());
    }
}
