//! Delegation tokens, where nobody has said who they are: there are none. Who has is asked by `tests/clients/test_delegation_tokens.py`.

use bytes::Bytes;
use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use kafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind};

use super::Case;
use super::admin::text;

const HMAC: Bytes = Bytes::from_static(b"nobody's");

fn create(owner: Option<&str>) -> RequestKind {
    let renewer =
        CreatableRenewers::default().with_principal_type(text("User")).with_principal_name(text("bob"));
    RequestKind::CreateDelegationToken(
        m::CreateDelegationTokenRequest::default()
            .with_owner_principal_type(owner.map(|_| text("User")))
            .with_owner_principal_name(owner.map(text))
            .with_renewers(vec![renewer])
            .with_max_lifetime_ms(-1),
    )
}

fn renew(hmac: Bytes, period_ms: i64) -> RequestKind {
    let request = m::RenewDelegationTokenRequest::default().with_hmac(hmac);
    RequestKind::RenewDelegationToken(request.with_renew_period_ms(period_ms))
}

fn expire(hmac: Bytes, period_ms: i64) -> RequestKind {
    let request = m::ExpireDelegationTokenRequest::default().with_hmac(hmac);
    RequestKind::ExpireDelegationToken(request.with_expiry_time_period_ms(period_ms))
}

fn describe(owner: Option<&str>) -> RequestKind {
    let owners = owner.map(|name| {
        let owner = DescribeDelegationTokenOwner::default();
        vec![owner.with_principal_type(text("User")).with_principal_name(text(name))]
    });
    RequestKind::DescribeDelegationToken(m::DescribeDelegationTokenRequest::default().with_owners(owners))
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("create a token", ApiKey::CreateDelegationToken, 1, 3, |_, _| create(None)),
        Case::new("create a token of another", ApiKey::CreateDelegationToken, 3, 3, |_, _| {
            create(Some("alice"))
        }),
        Case::new("renew a token", ApiKey::RenewDelegationToken, 1, 2, |_, _| renew(HMAC, -1)),
        Case::new("renew what is none", ApiKey::RenewDelegationToken, 1, 2, |_, _| {
            renew(Bytes::new(), 60_000)
        }),
        Case::new("expire a token", ApiKey::ExpireDelegationToken, 1, 2, |_, _| expire(HMAC, -1)),
        Case::new("expire what is none", ApiKey::ExpireDelegationToken, 1, 2, |_, _| expire(Bytes::new(), 0)),
        Case::new("describe tokens", ApiKey::DescribeDelegationToken, 1, 3, |_, _| describe(None)),
        Case::new("describe tokens of a user", ApiKey::DescribeDelegationToken, 1, 3, |_, _| {
            describe(Some("alice"))
        }),
    ]
}
