//! A disk that crashes, fails, fills up and lies, as it is told. What was written and not synced
//! survives a power cut as a seeded random subset, torn at 512 bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use redb::StorageBackend;

const SECTOR: usize = 512;
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
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
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

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    pub(crate) fn new(seed: u64, ignores_sync: bool) -> Self {
        let state = State {
            rng: Rng::with_seed(seed),
            live: Vec::new(),
            durable: Vec::new(),
            unsynced: Vec::new(),
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
        state.restart(image);
    }

    /// The process died, and the operating system keeps what it was given.
    pub(crate) fn keep_all(&self) {
        let mut state = self.lock();
        let live = state.live.clone();
        state.restart(live);
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
        let mut image = self.durable.clone();
        // All, nothing, and all between.
        let survive = f64::from(self.rng.u32(0..=4)) / 4.0;
        let (mut kept, mut lost) = (0, 0);
        for change in &self.unsynced {
            match change {
                Change::Length(len) if self.rng.f64() < survive => image.resize(*len, 0),
                Change::Length(_) => {}
                Change::Write(offset, data) => {
                    for (at, sector) in sectors(*offset, data) {
                        if self.rng.f64() < survive && at + sector.len() <= image.len() {
                            image[at..at + sector.len()].copy_from_slice(sector);
                            kept += 1;
                        } else {
                            lost += 1;
                        }
                    }
                }
            }
        }
        self.torn += u64::from(kept > 0 && lost > 0);
        self.image = Some(image);
    }

    fn restart(&mut self, content: Vec<u8>) {
        self.live.clone_from(&content);
        self.durable = content;
        self.unsynced.clear();
        self.power_left = None;
        self.image = None;
    }

    fn make_durable(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Length(len) => self.durable.resize(len, 0),
                Change::Write(offset, data) => {
                    self.durable[offset..offset + data.len()].copy_from_slice(&data);
                }
            }
        }
    }

    /// What a failed sync may leave: the pages are dropped, as if they had never been written.
    fn forget_unsynced(&mut self) {
        let mut before = BTreeMap::new();
        for change in self.unsynced.drain(..) {
            if let Change::Write(offset, data) = change {
                before.insert(offset, data.len());
            }
        }
        let len = self.live.len();
        self.live.clone_from(&self.durable);
        self.live.resize(len, 0);
        self.durable.resize(len, 0);
    }
}

/// Cuts a write where a torn one ends.
fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - offset % SECTOR).min(data.len());
    let (head, rest) = data.split_at(first);
    let parts = rest.chunks(SECTOR).enumerate();
    let rest = parts.map(move |(index, part)| (offset + first + index * SECTOR, part));
    std::iter::once((offset, head)).chain(rest)
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().live.len() as u64)
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
        let start = usize::try_from(offset).expect("it is small");
        let bytes = state.live.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        let len = usize::try_from(len).expect("it is small");
        if state.weather == Weather::Full && len > state.live.len() {
            state.refused_space += 1;
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        state.live.resize(len, 0);
        state.unsynced.push(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        let result = state.operate();
        let forgets = matches!(state.weather, Weather::Failing { forgets: true, .. });
        match &result {
            Err(_) if state.image.is_some() => {}
            Err(_) if forgets => state.forget_unsynced(),
            Err(_) => state.make_durable(),
            Ok(()) if state.ignores_sync => {}
            Ok(()) => state.make_durable(),
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
        let start = usize::try_from(offset).expect("it is small");
        state.live[start..start + data.len()].copy_from_slice(data);
        state.unsynced.push(Change::Write(start, data.to_vec()));
        Ok(())
    }
}
