//! What Linux says of a process.

use std::fs;

/// A process, by its entry in /proc.
pub(crate) struct Process(String);

/// Memory in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    /// The most that was resident.
    pub(crate) peak: f64,
}

impl Process {
    pub(crate) fn of(id: u32) -> Self {
        Self(format!("/proc/{id}"))
    }

    pub(crate) fn this() -> Self {
        Self("/proc/self".into())
    }

    /// CPU seconds used so far by all threads that go on, in user and kernel, to the nanosecond.
    pub(crate) fn cpu(&self) -> Result<f64, String> {
        let tasks = format!("{}/task", self.0);
        let mut nanoseconds = 0.0;
        for task in fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))?.flatten() {
            // A thread may have ended since.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let running = text.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
            nanoseconds += running.unwrap_or_default();
        }
        if nanoseconds == 0.0 {
            return Err(format!("{tasks}: this kernel has no schedstat"));
        }
        Ok(nanoseconds / 1e9)
    }

    /// Bytes that went to the disk so far, or will.
    pub(crate) fn written(&self) -> Result<f64, String> {
        self.field("io", "write_bytes:")
    }

    pub(crate) fn memory(&self) -> Result<Memory, String> {
        let kibibytes = |name| self.field("status", name).map(|value| value * 1024.0);
        Ok(Memory { resident: kibibytes("VmRSS:")?, peak: kibibytes("VmHWM:")? })
    }

    fn field(&self, file: &str, name: &str) -> Result<f64, String> {
        let path = format!("{}/{file}", self.0);
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let rest = text.lines().find_map(|line| line.strip_prefix(name));
        let value = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        value.ok_or_else(|| format!("{path} has no {name}"))
    }
}
