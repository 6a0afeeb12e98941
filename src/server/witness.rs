//! What the storage thread reports, on its way to the engine. It is only noted there: to tell the
//! engine, the storage thread would have to wait for the broker's lock, and to write what that
//! brings, for sockets. A task beside the connections does both.
//!
//! Invariant: the engine hears everything, in the order in which it was said.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::yield_now;

use super::engine::Engine;
use super::log;
use super::work::By;
use crate::store::{StoreError, Witness};
use crate::turn::{Letters, Loaded, RecordNumber, StoreState};

/// What was said. Little of it waits: each queue asks for one load at a time.
pub(super) struct News(UnboundedReceiver<Word>);

enum Word {
    Committed(RecordNumber),
    Loaded(Loaded),
    Letters(Letters),
    State(StoreState, String),
    Room,
}

/// The engine, as the store knows it, and what it hears.
pub(super) fn listen(engine: &Arc<Engine>) -> (Ear, News) {
    let (said, news) = unbounded_channel();
    (Ear { engine: Arc::downgrade(engine), said }, News(news))
}

impl News {
    /// Tells the engine, until it is dropped.
    pub(super) async fn pass_on(mut self, engine: Arc<Engine>) {
        while let Some(word) = self.0.recv().await {
            tell(&engine, word);
            yield_now().await; // It may have brought a client a thousand messages.
        }
    }
}

fn tell(engine: &Engine, word: Word) {
    match word {
        Word::Committed(up_to) => engine.set_committed(up_to),
        Word::Loaded(loaded) => engine.turn(By::Server, |step| {
            step.call(|broker, now, turn| broker.handle_loaded(loaded, now, turn));
        }),
        Word::Letters(letters) => engine.turn(By::Server, |step| {
            step.call(|broker, now, turn| broker.handle_letters(&letters, now, turn));
        }),
        Word::State(state, why) => {
            engine.turn(By::Server, |step| {
                step.call(|broker, now, turn| broker.handle_store_state(state, now, turn));
            });
            log::store_state(state, &why); // Who reads it may rely on it.
        }
        Word::Room => engine.room(),
    }
}

/// See [`listen`].
pub(super) struct Ear {
    engine: Weak<Engine>,
    said: UnboundedSender<Word>,
}

impl Ear {
    /// Nobody hears it when the server is gone.
    fn say(&self, word: Word) {
        let _ = self.said.send(word);
    }
}

impl Witness for Ear {
    fn committed(&self, up_to: RecordNumber) {
        self.say(Word::Committed(up_to));
    }

    fn loaded(&self, loaded: Loaded) {
        self.say(Word::Loaded(loaded));
    }

    fn letters(&self, letters: Letters) {
        self.say(Word::Letters(letters));
    }

    fn state(&self, state: StoreState, why: &str) {
        self.say(Word::State(state, why.to_owned()));
    }

    fn room(&self) {
        self.say(Word::Room);
    }

    /// At once: who waits for the end of the storage thread asks for it then.
    fn broken(&self, _error: &StoreError) {
        if let Some(engine) = self.engine.upgrade() {
            engine.lose_store();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::super::rig::{self, say_held};
    use super::*;
    use crate::mqtt::Reply;

    const PINGRESP: [u8; 2] = [0xD0, 0];

    #[tokio::test]
    async fn what_is_said_is_told_also_from_before_anybody_listens() {
        let (engine, _) = rig::engine();
        let (mut client, outbox) = rig::seat(&engine).await;
        let first = say_held(&engine, outbox.id(), Reply::PingResp);
        let second = say_held(&engine, outbox.id(), Reply::PingResp);
        let (ear, news) = listen(&engine);
        ear.committed(first);
        let task = tokio::spawn(news.pass_on(Arc::clone(&engine)));
        let mut told = [0; 2];
        client.read_exact(&mut told).await.unwrap();
        assert_eq!(told, PINGRESP);
        ear.committed(second);
        client.read_exact(&mut told).await.unwrap();
        assert_eq!(told, PINGRESP);
        task.abort();
        assert!(task.await.is_err());
        ear.committed(second); // Nobody hears it.
    }
}
