//! SASL on one connection: frames go by here until they are somebody's, and afterwards where somebody authenticates again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moldau_metadata::{ScramCredential, ScramMechanism};
use moldau_model::Principal;
use moldau_security::Place;
use moldau_security::delegation::DelegationLogin;
use moldau_security::oauth::TokenVerifier;
use moldau_security::sasl::{Authenticator, CredentialStore, OwnLogin, Refusal, Step, WithOwnLogin};
use moldau_security::scram::NONCE_BYTES;
use tokio::time::Instant;

use super::protection::AuthenticationLimits;
use crate::broker::Broker;
use crate::clock;
use crate::response::ResponseFrame;

/// See the module.
pub(super) struct Authentication {
    authenticator: Authenticator,
    known: Known,
    /// The connection's place among those that are not authenticated, for as long as it is not.
    place: Option<Place>,
    deadline: Instant,
    limits: AuthenticationLimits,
    refused: Option<Refused>,
}

/// What a listener knows of who may come, beside the cluster's users.
pub(super) struct Known {
    pub(super) own: Option<Arc<OwnLogin>>,
    pub(super) tokens: Option<Arc<TokenVerifier>>,
}

/// A connection that ends soon, and not at once: who guesses passwords has to wait for each verdict.
struct Refused {
    until: Instant,
    answer: Option<Vec<u8>>,
    refusal: Refusal,
}

/// What becomes of a frame.
pub(super) enum Taken {
    /// It is a request.
    Request,
    Answer(ResponseFrame),
    Authenticated {
        principal: Principal,
        by_token: bool,
        /// `None`: there is nothing to say.
        answer: Option<ResponseFrame>,
    },
    /// Nothing more is read. `is_expired`: the session has ended, and nobody tried to renew it.
    Refused {
        is_expired: bool,
    },
}

struct Credentials<'a>(&'a Broker);

impl CredentialStore for Credentials<'_> {
    fn scram(&self, mechanism: ScramMechanism, user: &str) -> Option<ScramCredential> {
        self.0.control.image().scram().get(user, mechanism).map(|credential| (**credential).clone())
    }

    fn delegation_token(&self, id: &str) -> Option<DelegationLogin> {
        let (key, image) = (self.0.control.token_key.as_ref()?, self.0.control.image());
        image.delegation_tokens().get(id).and_then(|token| DelegationLogin::of(key, token, clock::now()))
    }
}

fn nonce() -> Option<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).ok()?;
    Some(nonce)
}

/// A clock that only goes forward, the same for all connections.
fn elapsed() -> Duration {
    static BEGUN: OnceLock<std::time::Instant> = OnceLock::new();
    BEGUN.get_or_init(std::time::Instant::now).elapsed()
}

impl Authentication {
    pub(super) fn new(
        authenticator: Authenticator,
        known: Known,
        place: Place,
        deadline: Instant,
        limits: AuthenticationLimits,
    ) -> Self {
        Self { authenticator, known, place: Some(place), deadline, limits, refused: None }
    }

    /// Takes a frame, without its size.
    pub(super) fn take(&mut self, frame: &[u8], broker: &Broker) -> Taken {
        if self.authenticator.is_request(frame, elapsed) {
            return Taken::Request;
        }
        let credentials = WithOwnLogin {
            own: self.known.own.as_deref(),
            tokens: self.known.tokens.as_deref(),
            now_ms: clock::now().0,
            store: &Credentials(broker),
        };
        match self.authenticator.handle(frame, elapsed(), &credentials, &mut nonce) {
            Step::Pass => Taken::Request,
            Step::Answer(answer) => Taken::Answer(ResponseFrame::new(answer)),
            Step::Authenticated { user, by_token, answer } => {
                self.place = None;
                let answer = (!answer.is_empty()).then(|| ResponseFrame::new(answer));
                Taken::Authenticated { principal: Principal::user(user), by_token, answer }
            }
            Step::Refused { refusal, answer } => {
                let until = Instant::now() + self.limits.failed_delay;
                let is_expired = refusal == Refusal::Expired;
                self.refused = Some(Refused { until, answer, refusal });
                Taken::Refused { is_expired }
            }
        }
    }

    /// Whether the connection is somebody's.
    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticator.is_authenticated()
    }

    /// When the connection ends unless it is somebody's by then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.place.is_some().then_some(self.deadline)
    }

    /// When a refused connection is told so, and ends.
    pub(super) fn refused_until(&self) -> Option<Instant> {
        self.refused.as_ref().map(|refused| refused.until)
    }

    /// What a refused connection is told, and why it ends.
    pub(super) fn take_refusal(&mut self) -> Option<(Refusal, Option<ResponseFrame>)> {
        let refused = self.refused.take()?;
        Some((refused.refusal, refused.answer.map(ResponseFrame::new)))
    }
}
