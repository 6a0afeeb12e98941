//! A disk that crashes, fails, fills up and lies, as it is told.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use redb::StorageBackend;

use crate::platter::Platter;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How the disk feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fine,
    /// This part of all operations fails, in percent; a sync that fails forgets what it had.
    Failing {
        percent: u32,
        forgets: bool,
    },
    /// No file can grow.
    Full,
}

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
}

struct State {
    rng: Rng,
    platter: Platter,
    weather: Weather,
    ignores_sync: bool,
    /// Operations until the power is cut.
    power_left: Option<u32>,
    /// What a power cut left.
    image: Option<Vec<u8>>,
    failed: u64,
    refused_space: u64,
    torn: u64,
}

impl Disk {
    pub(crate) fn new(seed: u64, ignores_sync: bool) -> Self {
        let state = State {
            rng: Rng::with_seed(seed),
            platter: Platter::default(),
            weather: Weather::Fine,
            ignores_sync,
            power_left: None,
            image: None,
            failed: 0,
            refused_space: 0,
            torn: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// Cuts the power after so many operations more.
    pub(crate) fn cut_power_after(&self, operations: u32) {
        self.lock().power_left = Some(operations);
    }

    /// The power is gone now, if it is not already, and comes back: what survived is on the disk.
    pub(crate) fn lose_power(&self) {
        let mut state = self.lock();
        state.fail_power();
        let image = state.image.take().expect("the power failed");
        state.platter = Platter::with_content(image);
        state.restart();
    }

    /// The process died, and the operating system keeps what it was given.
    pub(crate) fn keep_all(&self) {
        let mut state = self.lock();
        state.platter.sync();
        state.restart();
    }

    /// Operations that failed, writes that found no space, and power cuts that tore something.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let state = self.lock();
        (state.failed, state.refused_space, state.torn)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under it")
    }
}

impl State {
    /// Counts an operation, and lets it fail if it is to.
    fn operate(&mut self) -> io::Result<()> {
        if self.image.is_some() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if let Some(left) = &mut self.power_left {
            if *left == 0 {
                self.fail_power();
                return Err(io::Error::from_raw_os_error(EIO));
            }
            *left -= 1;
        }
        match self.weather {
            Weather::Failing { percent, .. } if self.rng.u32(..100) < percent => {
                self.failed += 1;
                Err(io::Error::from_raw_os_error(EIO))
            }
            _ => Ok(()),
        }
    }

    fn fail_power(&mut self) {
        if self.image.is_some() {
            return;
        }
        let (content, is_torn) = self.platter.survivors(&mut self.rng);
        self.torn += u64::from(is_torn);
        self.image = Some(content);
    }

    fn restart(&mut self) {
        self.power_left = None;
        self.image = None;
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().platter.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.lock();
        if state.image.is_some() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if let Weather::Failing { percent, .. } = state.weather
            && state.rng.u32(..400) < percent
        {
            state.failed += 1;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        state.platter.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        let len = usize::try_from(len).expect("it is small");
        if state.weather == Weather::Full && len > state.platter.len() {
            state.refused_space += 1;
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        state.platter.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        let result = state.operate();
        let forgets = matches!(state.weather, Weather::Failing { forgets: true, .. });
        match &result {
            Err(_) if state.image.is_some() => {}
            Err(_) if forgets => state.platter.forget(),
            Err(_) => state.platter.sync(),
            Ok(()) if state.ignores_sync => {}
            Ok(()) => state.platter.sync(),
        }
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        if state.weather == Weather::Full && state.rng.u32(..10) == 0 {
            state.refused_space += 1;
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        state.platter.write(offset, data);
        Ok(())
    }
}
