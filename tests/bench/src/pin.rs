//! One core for everything that is measured one request at a time.
//!
//! Whether the system wakes a function on the core that its event came from or on the other one changes a request's
//! time by half, for many requests on end. On one core it cannot choose; and a function with less than a whole vCPU has
//! no second one either.

/// This thread, and the programs that it starts, run on one core until this is dropped.
#[derive(Debug)]
pub struct Pinned {
    #[cfg(target_os = "linux")]
    before: Option<rustix::thread::CpuSet>,
}

#[cfg(target_os = "linux")]
impl Pinned {
    /// Takes the last core that this thread may use: the first often serves the machine's interrupts.
    #[must_use]
    pub fn to_one_core() -> Self {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

        let before = sched_getaffinity(None).ok();
        let last = |all: &CpuSet| (0..CpuSet::MAX_CPU).rev().find(|core| all.is_set(*core));
        let before = before.filter(|all| {
            let mut one = CpuSet::new();
            last(all).map(|core| one.set(core)).is_some() && sched_setaffinity(None, &one).is_ok()
        });
        Self { before }
    }

    /// Whether the system let us.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.before.is_some()
    }
}

#[cfg(target_os = "linux")]
impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // It could be set a moment ago.
            let _ = rustix::thread::sched_setaffinity(None, before);
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Pinned {
    /// There is no such call.
    #[must_use]
    pub fn to_one_core() -> Self {
        Self {}
    }

    /// It does not.
    #[must_use]
    pub fn holds(&self) -> bool {
        false
    }
}
