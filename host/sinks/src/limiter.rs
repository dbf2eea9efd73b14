//! Memory, tables and instances of one call, summed over all its modules.

use basin_core::event::FailureKind;
use wasmtime::ResourceLimiter;

use crate::ended::Ended;

/// Linear memories of one call; a component of several modules has some.
const MEMORIES_MAX: usize = 8;

/// Tables of one call.
const TABLES_MAX: usize = 16;

/// Sums what the memories and tables of a call have grown to.
///
/// wasmtime's own limiter bounds each memory by itself: a component of eight modules would get eight times the
/// limit. A refused growth ends the call, because a sink that got -1 would abort with a message of its own that
/// names no limit.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: usize,
    memory_max: usize,
    elements: usize,
    elements_max: usize,
    instances_max: usize,
}

impl Limiter {
    pub(crate) fn new(memory_max: u64, elements_max: usize, instances_max: usize) -> Self {
        let memory_max = usize::try_from(memory_max).unwrap_or(usize::MAX);
        Self { memory: 0, memory_max, elements: 0, elements_max, instances_max }
    }

    /// The same instance with the limit of its next call. What it has grown to counts on.
    pub(crate) fn with_limit(mut self, memory_max: u64) -> Self {
        self.memory_max = usize::try_from(memory_max).unwrap_or(usize::MAX);
        self
    }

    /// Octets of all memories; they never shrink, so this is the high water mark.
    pub(crate) fn memory(&self) -> u64 {
        self.memory as u64
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory_max {
            let detail =
                format!("it wanted {wanted} octets of memory, the limit is {} (--memory raises it)", self.memory_max);
            return Err(Ended::new(FailureKind::Memory, detail).into());
        }
        self.memory = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.elements.saturating_add(desired.saturating_sub(current));
        if wanted > self.elements_max {
            let detail = format!("it wanted {wanted} table elements, the limit is {}", self.elements_max);
            return Err(Ended::new(FailureKind::Memory, detail).into());
        }
        self.elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_summed() {
        let mut limiter = Limiter::new(100, 10, 1);
        assert!(limiter.memory_growing(0, 60, None).is_ok());
        assert!(limiter.memory_growing(0, 40, None).is_ok(), "the second memory fits exactly");
        let error = limiter.memory_growing(60, 61, None).expect_err("one over");
        assert!(error.to_string().contains("the limit is 100"), "{error}");
        assert_eq!(limiter.memory(), 100);
    }

    #[test]
    fn tables_are_summed() {
        let mut limiter = Limiter::new(100, 10, 1);
        assert!(limiter.table_growing(0, 10, None).is_ok());
        assert!(limiter.table_growing(0, 1, None).is_err());
    }
}
