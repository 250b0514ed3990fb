//! At one offset of the metadata log all nodes have the same image, and what was committed there stays.

use std::rc::Rc;

use moldau_metadata::{MetadataBatch, MetadataImage};

use super::Verdict;

/// What stands at each offset, by the word of the controller that applied it first.
#[derive(Debug, Default)]
pub(crate) struct ImagesConverge {
    steps: Vec<(u64, Rc<MetadataBatch>, MetadataImage)>,
    empty: MetadataImage,
}

impl ImagesConverge {
    pub(super) fn newest(&self) -> &MetadataImage {
        self.steps.last().map_or(&self.empty, |(_, _, image)| image)
    }

    /// How many entries are committed.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether the step is one that nobody had applied.
    pub(super) fn applied_by_controller(
        &mut self,
        controller: usize,
        (offset, term): (i64, u64),
        batch: &Rc<MetadataBatch>,
        image: &MetadataImage,
    ) -> Result<bool, String> {
        let Some((first_term, first_batch, first)) = self.steps.get(offset as usize) else {
            if offset as usize != self.steps.len() {
                return Err(format!("controller {controller} applied {offset} after {}", self.steps.len()));
            }
            self.steps.push((term, Rc::clone(batch), image.clone()));
            return Ok(true);
        };
        if *first_term != term || (!Rc::ptr_eq(first_batch, batch) && first_batch != batch) {
            return Err(format!(
                "controller {controller} has at {offset} {batch:?} of term {term}, another one {first_batch:?} of term \
                 {first_term}"
            ));
        }
        if first != image {
            return Err(format!("controller {controller} has another image at {offset}"));
        }
        Ok(false)
    }

    pub(super) fn applied_by_broker(&self, broker: i32, image: &MetadataImage) -> Verdict {
        let offset = image.position().offset.0;
        match self.steps.get(offset as usize) {
            Some((_, _, first)) if first == image => Ok(()),
            Some(_) => Err(format!("broker {broker} has another image at {offset}")),
            None => Err(format!("broker {broker} applied {offset}, which is not committed")),
        }
    }
}
