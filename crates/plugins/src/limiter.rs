//! How much memory one instance may hold.
//!
//! wasmtime asks for each memory and each table on its own; here they are added up, so that a component of
//! many small modules cannot hold more than one of a single module.

use wasmtime::ResourceLimiter;

/// What an entry of a table costs on a 64-bit host, in bytes.
const TABLE_ENTRY_BYTES: usize = 16;

/// Counts what an instance holds, and refuses to let it grow past its limit.
#[derive(Debug)]
pub struct Limiter {
    limit: usize,
    held: usize,
    last_growth: usize,
    refused: bool,
}

impl Limiter {
    pub const fn new(limit_bytes: usize) -> Self {
        Self { limit: limit_bytes, held: 0, last_growth: 0, refused: false }
    }

    /// Bytes of all memories and tables.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether growth was refused since the last call of this.
    pub const fn take_refused(&mut self) -> bool {
        std::mem::replace(&mut self.refused, false)
    }

    fn grow(&mut self, by: usize) -> bool {
        let wanted = self.held.saturating_add(by);
        if wanted > self.limit {
            self.refused = true;
            return false;
        }
        self.held = wanted;
        self.last_growth = by;
        true
    }

    fn undo(&mut self) {
        self.held = self.held.saturating_sub(std::mem::take(&mut self.last_growth));
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ENTRY_BYTES)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 64 * 1024;

    #[test]
    fn all_memories_and_tables_count_together() {
        let mut limiter = Limiter::new(3 * PAGE);
        assert!(limiter.memory_growing(0, PAGE, None).unwrap());
        assert!(limiter.memory_growing(0, PAGE, None).unwrap());
        assert!(limiter.table_growing(0, PAGE / TABLE_ENTRY_BYTES, None).unwrap());
        assert_eq!(limiter.held(), 3 * PAGE);
        assert!(!limiter.take_refused());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert!(limiter.take_refused());
        assert!(!limiter.take_refused());
    }

    #[test]
    fn a_failed_growth_is_not_held() {
        let mut limiter = Limiter::new(4 * PAGE);
        assert!(limiter.memory_growing(0, 3 * PAGE, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert_eq!(limiter.held(), 0);
    }

    #[test]
    fn a_growth_past_the_memorys_own_maximum_is_not_the_limits_doing() {
        let mut limiter = Limiter::new(4 * PAGE);
        assert!(!limiter.memory_growing(PAGE, 2 * PAGE, Some(PAGE)).unwrap());
        assert!(!limiter.take_refused());
        assert_eq!(limiter.held(), 0);
    }
}
