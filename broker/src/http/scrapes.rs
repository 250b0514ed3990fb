//! Answers of `/metrics`: one is made at a time, however many ask.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::CONTENT_TYPE;

/// How long a scrape waits for its turn: scrapers give up after ten seconds by default.
const TURN_MAX: Duration = Duration::from_secs(8);

/// The turn to make an answer, and the newest one.
#[derive(Clone)]
pub struct Scrapes(Arc<Shared>);

struct Shared {
    turn: Arc<Semaphore>,
    newest: Mutex<Option<Made>>,
}

#[derive(Clone)]
struct Made {
    begun_at: Instant,
    text: Bytes,
}

impl Default for Scrapes {
    fn default() -> Self {
        Self(Arc::new(Shared { turn: Arc::new(Semaphore::new(1)), newest: Mutex::default() }))
    }
}

impl Scrapes {
    /// An answer that was begun after this call: made now, or shared with others that came meanwhile.
    pub async fn answer<F>(&self, make: impl FnOnce() -> F) -> Response
    where
        F: Future<Output = Option<String>> + Send + 'static,
    {
        let came_at = Instant::now();
        let turn = tokio::time::timeout(TURN_MAX, Arc::clone(&self.0.turn).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return (StatusCode::SERVICE_UNAVAILABLE, "metrics are being made for others\n").into_response();
        };
        let newest = self.0.newest.lock().clone();
        if let Some(made) = newest.filter(|made| made.begun_at >= came_at) {
            return text_of(Some(made.text));
        }
        let (making, shared) = (make(), Arc::clone(&self.0));
        // A task of its own: one that nobody waits for any more still has the turn until it ends.
        let made = tokio::spawn(async move {
            let _turn = turn;
            let begun_at = Instant::now();
            let text = Bytes::from(making.await?);
            *shared.newest.lock() = Some(Made { begun_at, text: text.clone() });
            Some(text)
        });
        text_of(made.await.ok().flatten())
    }
}

fn text_of(text: Option<Bytes>) -> Response {
    match text {
        Some(text) => (StatusCode::OK, [(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_that_ask_at_once_are_answered_by_two_answers() {
        let scrapes = Scrapes::default();
        let made = Arc::new(AtomicUsize::new(0));
        let asked = (0..50).map(|_| {
            let (scrapes, made) = (scrapes.clone(), Arc::clone(&made));
            tokio::spawn(async move {
                let make = || async move {
                    made.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Some("metrics\n".to_owned())
                };
                scrapes.answer(make).await.status()
            })
        });
        for answer in futures::future::join_all(asked).await {
            assert_eq!(answer.unwrap(), StatusCode::OK);
        }
        // The first one was begun before the others came.
        assert!(made.load(Ordering::SeqCst) <= 2, "{made:?} answers were made");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_does_not_let_another_begin_beside_what_they_asked_for() {
        let scrapes = Scrapes::default();
        let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        for _ in 0..20 {
            let running = Arc::clone(&running);
            let make = || async move {
                let now = running.0.fetch_add(1, Ordering::SeqCst) + 1;
                running.1.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                running.0.fetch_sub(1, Ordering::SeqCst);
                Some(String::new())
            };
            drop(tokio::time::timeout(Duration::from_millis(10), scrapes.answer(make)).await);
        }
        assert_eq!(running.1.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_their_turn_is_told_so() {
        let scrapes = Scrapes::default();
        let first = scrapes.clone();
        tokio::spawn(async move { first.answer(std::future::pending).await });
        tokio::task::yield_now().await;
        let second = scrapes.answer(|| std::future::ready(Some(String::new()))).await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
