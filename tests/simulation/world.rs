//! The world of one seed: a clock that only it moves, clients, connections, a broker that may
//! die, and its disk. Of all that is due at one time, the seed decides what comes first.

mod end;
mod power;
mod wire;

use fastrand::Rng;
use kedgemq::mqtt::{ReasonCode, Version};
use kedgemq::turn::{Action, ConnectionId, DeadReason, Event, LetterFilter};

use crate::bug::Bug;
use crate::clients::{Client, cast};
use crate::coverage::Coverage;
use crate::disk::{self, Disk};
use crate::engine::Engine;
use crate::history::{Fact, History};
use crate::network::{self, Connection};
use crate::plan::{Fault, Plan};
use crate::rights::Rights;
use crate::storage::News;

/// After so long without anything new, all is said, in milliseconds: no will waits longer.
const QUIET: u64 = 25_000;
/// All must be said so long after the faults end, and after a task is done with its last letter:
/// with its pace, one of many letters takes longer.
const PATIENCE: u64 = 900_000;

/// One seed in so many crashes often.
pub(crate) const CRASHING: u64 = 3;

/// What can be due.
#[derive(Clone, Copy, Debug)]
enum Due {
    Up(usize),
    Down(usize),
    Act(usize),
    Timer,
    Storage,
    Stuck(ConnectionId),
    Fault,
    Start,
}

/// All there is.
pub(crate) struct World {
    pub(crate) history: History,
    pub(crate) coverage: Coverage,
    rng: Rng,
    plan: Plan,
    bug: Option<Bug>,
    now: u64,
    clients: Vec<Client>,
    connections: Vec<Connection>,
    /// Those that are not over yet.
    open: Vec<usize>,
    engine: Option<Engine>,
    disk: Disk,
    next_fault: usize,
    start_at: u64,
    calm: bool,
    /// Kept only for its capacity.
    due: Vec<Due>,
    starts: u64,
    /// How far the clock on the wall is from the true time, in milliseconds.
    jumped: i64,
    rights: Rights,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng, seed.is_multiple_of(CRASHING));
        let disk = Disk::new(rng.u64(..), bug == Some(Bug::SkipsSync));
        let clients = cast(&mut rng);
        let mut history = History::default();
        let limits = &plan.settings.limits;
        let letters = &plan.settings.dead_letters;
        let is_off = |reason: &DeadReason| !letters.reasons.contains(reason);
        history.note(Fact::Limits {
            messages: limits.queue_messages,
            deliveries: limits.max_deliveries,
            counted_only: DeadReason::ALL.into_iter().filter(is_off).collect(),
            letter_age: u64::try_from(letters.max_age.as_millis()).expect("it is short"),
            refuses: plan.settings.overflow.may_refuse(),
        });
        for client in &clients {
            let (name, keeps_protocol) = (client.name.clone(), !client.temper.rascal);
            history.note(Fact::Client { client: client.index, name, keeps_protocol });
        }
        Self {
            history,
            coverage: Coverage::default(),
            rng,
            plan,
            bug,
            now: 0,
            clients,
            connections: Vec::new(),
            open: Vec::new(),
            engine: None,
            disk,
            next_fault: 0,
            start_at: 0,
            calm: false,
            due: Vec::new(),
            starts: 0,
            jumped: 0,
            rights: Rights::default(),
        }
    }

    /// Lets everything happen. `Err` says what kept the broker from an end.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        while self.now < self.plan.ends || self.engine.is_none() {
            self.step()?;
        }
        self.calm_down();
        self.drain()?;
        self.read_retained()?;
        self.history.note(Fact::Quiet);
        self.look_into_the_store()
    }

    /// One thing happens: one of those that are due first.
    fn step(&mut self) -> Result<(), String> {
        let at = self.collect_due();
        assert!(!self.due.is_empty(), "clients always have something to do");
        self.set_now(at.max(self.now));
        let due = self.due[self.rng.usize(..self.due.len())];
        match due {
            Due::Up(connection) => self.carry_up(connection),
            Due::Down(connection) => self.carry_down(connection),
            Due::Act(client) => self.act(client),
            Due::Timer => self.engine().tick(),
            Due::Storage => {
                let news = self.engine().step_storage();
                self.tell(news);
            }
            Due::Stuck(seat) => {
                self.coverage.count("a client does not read");
                self.engine().stuck(seat);
            }
            Due::Fault => self.next_fault(),
            Due::Start => self.start()?,
        }
        self.note_ledger();
        self.flush();
        self.note_ledger();
        self.note_events();
        Ok(())
    }

    /// Fills `due` with all that is due first, and gives its time.
    fn collect_due(&mut self) -> u64 {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        let mut first = u64::MAX;
        let mut add = |at: Option<u64>, what: Due| {
            let Some(at) = at else { return };
            let at = at.max(self.now);
            if at < first {
                due.clear();
                first = at;
            }
            if at == first {
                due.push(what);
            }
        };
        for &index in &self.open {
            let connection = &self.connections[index];
            if connection.seat.is_some() {
                add(connection.up.next_due(), Due::Up(index));
            }
            if connection.client_side {
                let reads_from = self.clients[connection.client].reads_from;
                let next = connection.down.next_due().map(|at| at.max(reads_from));
                add(next, Due::Down(index));
            }
        }
        for client in &self.clients {
            add(Some(client.next_act).filter(|at| *at != u64::MAX), Due::Act(client.index));
        }
        match &self.engine {
            None => add(Some(self.start_at), Due::Start),
            Some(engine) => {
                add(engine.due(), Due::Timer);
                add(engine.storage.due(self.now), Due::Storage);
                if let Some((at, seat)) = engine.stall_due() {
                    add(Some(at), Due::Stuck(seat));
                }
            }
        }
        if !self.calm {
            add(self.plan.faults.get(self.next_fault).map(|(at, _)| *at), Due::Fault);
        }
        self.due = due;
        first
    }

    fn set_now(&mut self, now: u64) {
        self.now = now;
        self.history.now = now;
        if let Some(engine) = &mut self.engine {
            engine.set_now(now);
        }
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("what needs a broker is due only while there is one")
    }

    fn tell(&mut self, news: Vec<News>) {
        for news in news {
            match &news {
                News::State(state, why) => {
                    let what = format!("{state:?} {why}");
                    self.history.note(Fact::Store { what });
                    self.coverage.count("the store fails or recovers");
                }
                News::Loaded(..) => self.coverage.count("copies loaded"),
                News::Letters(letters) => {
                    if letters.load.bytes == u32::MAX {
                        self.coverage.count("letters retried by themselves");
                    }
                }
                News::Committed(_) => self.coverage.count("commits"),
                News::Moved(copies) => self.coverage.add("cold moves", *copies),
            }
            self.engine().tell(news);
        }
    }

    /// What the broker's log would say.
    fn note_events(&mut self) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        let is_ready = engine.storage.is_ready();
        for event in std::mem::take(&mut engine.events) {
            match event {
                Event::Lost { owner, count } => {
                    let owner = owner.to_string();
                    self.history.note(Fact::Lost { owner, count });
                }
                Event::TakenOver { .. } => self.coverage.count("take-overs"),
                Event::PublishRefused { client_id, reason, .. } => {
                    self.coverage.count("publishes refused");
                    let is_unauthorized = reason == ReasonCode::NOT_AUTHORIZED;
                    if is_unauthorized {
                        let client = self.clients.iter().find(|client| *client.name == *client_id);
                        self.coverage.count(match client.expect("all are known").version {
                            Version::V5 => "publishes without the right, 5.0",
                            Version::V311 | Version::V31 => "publishes without the right, 3.1.1",
                        });
                    } else if is_ready {
                        self.coverage.count("publishes refused for a full queue");
                    }
                }
                Event::Disconnected { connection: seat, reason, .. } => {
                    if reason.0 == 0x8D {
                        self.coverage.count("keep alive passed");
                    }
                    let mut open = self.open.iter();
                    let at = open.find(|at| self.connections[**at].seat == Some(seat));
                    if let Some(at) = at {
                        self.note_gone(*at);
                    }
                }
                _ => {}
            }
        }
    }

    fn act(&mut self, client: usize) {
        let fresh = self.connections.len();
        self.clients[client].act(self.now, fresh, &mut self.history);
        self.do_deeds(client);
    }

    fn next_fault(&mut self) {
        let (_, fault) = self.plan.faults[self.next_fault];
        self.next_fault += 1;
        match fault {
            Fault::PowerCut => self.crash(true),
            Fault::Kill => self.crash(false),
            Fault::Stop => self.stop(),
            Fault::Disk(weather) => self.disk.set_weather(weather),
            Fault::Outage => self.outage(),
            Fault::Jump(milliseconds) => {
                self.jumped = milliseconds;
                self.history.note(Fact::Jumped { milliseconds });
                match &mut self.engine {
                    Some(engine) => engine.jump(milliseconds),
                    None => self.coverage.count("clock jumps while it is down"),
                }
                self.coverage.count("clock jumps");
            }
            Fault::Rights => {
                self.rights.change(&mut self.rng);
                self.set_rights();
            }
            Fault::Task(action, rate) => self.start_task(action, rate),
            Fault::Cancel => self.cancel_task(),
        }
    }

    fn set_rights(&mut self) {
        self.history.note(Fact::Rights { denied: self.rights.denied.clone() });
        self.coverage.count("rights changed");
        if let Some(engine) = &mut self.engine {
            engine.broker.set_acl(self.rights.acl(self.bug));
        }
    }

    fn start_task(&mut self, action: Action, rate: u32) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        let id = engine.operate(|broker, now, turn| {
            broker.handle_task(action, LetterFilter::default(), rate, now, turn)
        });
        if id.is_some() {
            self.history.note(Fact::Operated { what: format!("{action:?} at {rate}/s") });
            self.coverage.count("tasks started");
        }
    }

    fn cancel_task(&mut self) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        let Some(id) = engine.broker.task().map(|task| task.id) else {
            return;
        };
        if engine.operate(|broker, _, turn| broker.handle_cancel(id, turn)) {
            self.history.note(Fact::Operated { what: "cancelled".to_owned() });
            self.coverage.count("tasks cancelled");
        }
    }

    /// What the core did to copies.
    fn note_ledger(&mut self) {
        if let Some(engine) = &mut self.engine {
            for fact in engine.ledger.facts.drain(..) {
                self.history.note(fact);
            }
        }
    }

    fn calm_down(&mut self) {
        self.calm = true;
        self.history.note(Fact::Calm);
        self.rights = Rights::default();
        self.set_rights();
        self.disk.set_weather(disk::Weather::Fine);
        self.plan.network = network::Weather { delay: 3, stalls: 0, cuts: 0, room: 64_000 };
        for client in self.clients.iter_mut().filter(|client| client.next_act != u64::MAX) {
            client.calm_down(self.now);
        }
    }

    /// Goes on until all clients have finished what they began, and nothing new happens.
    fn drain(&mut self) -> Result<(), String> {
        let (mut begun, mut looked_at) = (self.now, None);
        loop {
            self.step()?;
            let task = self.engine.as_ref().and_then(|engine| engine.broker.task());
            let cursor = task.map(|task| (task.id, task.cursor));
            if cursor.is_some() && cursor != looked_at {
                (begun, looked_at) = (self.now, cursor);
            }
            let last = self.history.entries.last().map_or(0, |entry| entry.at);
            let quiet = self.now - last > QUIET;
            let late = self.now - begun > PATIENCE;
            if !quiet && !late {
                continue;
            }
            let active = self.clients.iter().filter(|client| client.next_act != u64::MAX);
            let unfinished = active.filter_map(Client::unfinished).next();
            let is_idle =
                |engine: &Engine| engine.storage.is_idle() && engine.broker.task().is_none();
            let idle = self.engine.as_ref().is_some_and(is_idle);
            match unfinished {
                None if idle && quiet => return Ok(()),
                None if !late => {}
                None => return Err("the broker does not come to rest".to_owned()),
                Some(what) => return Err(format!("stuck: {what}")),
            }
        }
    }
}
