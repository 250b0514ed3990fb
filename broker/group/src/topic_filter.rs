//! Which topics somebody may know of: expressions find no others, as in Kafka.

use std::fmt;
use std::sync::Arc;

/// A question that is asked of each topic's name; whoever has the default may know of all.
#[derive(Clone, Default)]
pub struct TopicFilter(Option<Arc<dyn Fn(&str) -> bool + Send + Sync>>);

impl TopicFilter {
    #[must_use]
    pub fn new(is_visible: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_visible)))
    }

    #[must_use]
    pub fn is_visible(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|is_visible| is_visible(topic))
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TopicFilter").field(&self.0.is_some()).finish()
    }
}

/// The same question, and not one that happens to have the same answers.
impl PartialEq for TopicFilter {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Eq for TopicFilter {}
