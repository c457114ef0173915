//! What a backend holds in its hand: the way to the router ([`Line`]) and its own mailbox.

use super::Exchange;
use super::hands::Crew;
use crate::message::{Incoming, MessageId, Name, Outgoing, Receipt, Report, SendFailure};
use crate::router::Refused;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, select};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the mailbox brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mail {
    /// Send this, then tell by [`Line::sent`].
    Send(Outgoing),
    /// Nothing came in the time given.
    Nothing,
    /// Finish what is in hand and return from [`Backend::run`](super::Backend::run).
    Stop,
}

/// A person asks the network something through this backend, such as the balance of its SIM; see [`Line::question`].
/// One that is dropped without an answer tells so.
pub struct Question {
    code: String,
    answer: Option<Box<dyn FnOnce(Result<String, String>) + Send>>,
}

impl Question {
    /// A question; `answer` is told what came of it, with a sentence when nothing did.
    pub fn new(
        code: impl Into<String>,
        answer: impl FnOnce(Result<String, String>) + Send + 'static,
    ) -> Question {
        Question { code: code.into(), answer: Some(Box::new(answer)) }
    }

    /// What is asked: `*144#`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Tells what came of it.
    pub fn answer(mut self, answer: Result<String, String>) {
        if let Some(told) = self.answer.take() {
            told(answer);
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(told) = self.answer.take() {
            told(Err("the backend stopped before there was an answer".into()));
        }
    }
}

/// So many questions wait for one backend at most.
const QUESTIONS: usize = 4;

/// A backend's side of its connection to the router.
pub struct Line {
    pub(super) name: Name,
    pub(super) exchange: Arc<dyn Exchange>,
    pub(super) mailbox: Receiver<Outgoing>,
    pub(super) questions: Receiver<Question>,
    pub(super) shared: Arc<Shared>,
    pub(super) sign: Sign,
    pub(super) crew: Option<Crew>,
}

/// Milliseconds after [`Shared::made`], from 1, since when a thread is at work; 0 while it waits.
pub(super) type Sign = Arc<AtomicU64>;

/// The router's side of a [`Line`].
pub struct Post {
    mailbox: Option<Sender<Outgoing>>,
    questions: Sender<Question>,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    stopping: AtomicBool,
    made: Instant,
    /// One for each thread of the backend.
    signs: Mutex<Vec<Sign>>,
    in_hand: Mutex<Vec<MessageId>>,
    wakers: Mutex<Vec<Box<dyn Fn() + Send>>>,
}

/// A pair of ends. `window` messages fit into the mailbox: as many as may be in the backend's hands at all, so handing over never waits.
pub fn line(name: Name, window: usize, exchange: Arc<dyn Exchange>) -> (Post, Line) {
    let (sender, mailbox) = crossbeam_channel::bounded(window.max(1));
    let (asker, questions) = crossbeam_channel::bounded(QUESTIONS);
    let shared = Arc::new(Shared {
        stopping: AtomicBool::new(false),
        made: Instant::now(),
        signs: Mutex::default(),
        in_hand: Mutex::default(),
        wakers: Mutex::default(),
    });
    let post = Post { mailbox: Some(sender), questions: asker, shared: shared.clone() };
    let sign = shared.sign();
    (post, Line { name, exchange, mailbox, questions, shared, sign, crew: None })
}

impl Line {
    /// The backend's name in the settings.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Says that messages can be sent from now on, with a sentence for people: `registered on Safaricom, 4 bars`.
    pub fn up(&self, sentence: &str) {
        self.exchange.up(sentence);
    }

    /// Says how things are without changing whether messages can be sent.
    pub fn note(&self, sentence: &str) {
        self.exchange.note(sentence);
    }

    /// Hands a received message to the router and waits until it is on disk. Only after `Ok` may it be
    /// acknowledged to its source (deleted from the SIM, marked as seen, answered with 200). On `Err` the source keeps it;
    /// [`Refused::is_temporary`] tells whether to offer it again.
    pub fn deliver(&self, incoming: Incoming) -> Result<MessageId, Refused> {
        self.wait_for_router(|exchange| exchange.deliver(incoming))
    }

    /// Hands a delivery report to the router and waits until it is on disk.
    pub fn report(&self, report: Report) -> Result<(), Refused> {
        self.wait_for_router(|exchange| exchange.report(report))
    }

    /// Tells what became of a message.
    pub fn sent(&self, id: MessageId, result: Result<Receipt, SendFailure>) {
        self.shared.in_hand().retain(|in_hand| *in_hand != id);
        self.wait_for_router(|exchange| exchange.sent(id, result));
    }

    /// Waits for the next message to send, for `patience` at most (`None`: until one comes).
    pub fn next(&self, patience: Option<Duration>) -> Mail {
        self.waiting();
        let received = match (&self.crew, patience) {
            (None, None) => self.mailbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            (None, Some(patience)) => self.mailbox.recv_timeout(patience),
            (Some(crew), patience) => {
                let over = patience.map_or_else(crossbeam_channel::never, crossbeam_channel::after);
                select! {
                    recv(self.mailbox) -> mail => mail.map_err(|_| RecvTimeoutError::Disconnected),
                    recv(crew.dismissal) -> _ => Err(RecvTimeoutError::Disconnected),
                    recv(over) -> _ => Err(RecvTimeoutError::Timeout),
                }
            }
        };
        self.working();
        match received {
            Ok(outgoing) => self.taken(outgoing),
            Err(RecvTimeoutError::Timeout) => Mail::Nothing,
            Err(RecvTimeoutError::Disconnected) => Mail::Stop,
        }
    }

    /// The next message, if there is one now. For engines that wait elsewhere; see [`Line::on_mail`].
    pub fn try_next(&self) -> Mail {
        match self.mailbox.try_recv() {
            Ok(outgoing) => self.taken(outgoing),
            Err(TryRecvError::Empty) if self.is_stopping() => Mail::Stop,
            Err(TryRecvError::Empty) => Mail::Nothing,
            Err(TryRecvError::Disconnected) => Mail::Stop,
        }
    }

    /// The next question, if there is one now. Only engines that [can be asked](super::Engine::asks) get any.
    pub fn question(&self) -> Option<Question> {
        self.questions.try_recv().ok()
    }

    /// Calls `waker` whenever the mailbox has something new, a question and a stop included. With mio's `Waker` an engine waits for its
    /// device, its mailbox and its timers in one place. Call it before the first `try_next`, and once.
    pub fn on_mail(&self, waker: impl Fn() + Send + 'static) {
        lock(&self.shared.wakers).push(Box::new(waker));
    }

    /// Whether the backend, or this hand of it, should stop soon.
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
            || self.crew.as_ref().is_some_and(|crew| crew.dismissed.load(Ordering::Acquire))
    }

    /// Tells the watchdog that the backend waits for something to do. [`Line::next`] does it by itself.
    pub fn waiting(&self) {
        self.sign.store(0, Ordering::Release);
    }

    /// Tells the watchdog that the backend is alive and at work. Work that takes long calls it now and then.
    pub fn working(&self) {
        self.sign.store(self.shared.milliseconds(), Ordering::Release);
    }

    /// Takes messages and sends each by `send` until it is time to stop: all that an engine needs that
    /// only sends, or whose input comes in at the web listener.
    pub fn serve(&self, mut send: impl FnMut(&Outgoing) -> Result<Receipt, SendFailure>) {
        loop {
            match self.next(None) {
                Mail::Send(outgoing) => self.sent(outgoing.id, send(&outgoing)),
                Mail::Nothing => {}
                Mail::Stop => return,
            }
        }
    }

    fn taken(&self, outgoing: Outgoing) -> Mail {
        {
            let mut in_hand = self.shared.in_hand();
            // Asked while the list is held: what is not on it when the thread is told to stop is never begun.
            if !self.is_stopping() {
                in_hand.push(outgoing.id);
                return Mail::Send(outgoing);
            }
        }
        let untried = SendFailure::Untried("the backend was told to stop first".into());
        self.exchange.sent(outgoing.id, Err(untried));
        Mail::Stop
    }

    /// Who waits for the router is not stuck, however slow its disk is.
    fn wait_for_router<T>(&self, ask: impl FnOnce(&dyn Exchange) -> T) -> T {
        self.waiting();
        let answer = ask(&*self.exchange);
        self.working();
        answer
    }

    /// After the backend failed: gives back what it had not begun, and tells that what it had begun may have left.
    pub fn give_back(&self, why: &str) {
        for id in std::mem::take(&mut *self.shared.in_hand()) {
            self.exchange.sent(id, Err(SendFailure::Unsure(why.to_string())));
        }
        while let Ok(outgoing) = self.mailbox.try_recv() {
            self.exchange.sent(outgoing.id, Err(SendFailure::Untried(why.to_string())));
        }
        self.questions.try_iter().for_each(drop);
        lock(&self.shared.wakers).clear();
    }

    /// Waits while the backend is down; `false` when it is time to stop instead. What still arrives is given back.
    pub fn rest(&self, wait: Duration) -> bool {
        self.waiting();
        let end = Instant::now() + wait;
        loop {
            match self.mailbox.recv_deadline(end) {
                Ok(outgoing) => {
                    let why = "the backend went down first";
                    self.exchange.sent(outgoing.id, Err(SendFailure::Untried(why.into())));
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}

impl Post {
    /// Hands a message over. `Err` gives it back: the backend is gone.
    pub fn send(&self, outgoing: Outgoing) -> Result<(), Outgoing> {
        match &self.mailbox {
            Some(mailbox) => mailbox.try_send(outgoing).map_err(|error| error.into_inner())?,
            None => return Err(outgoing),
        }
        self.shared.wake();
        Ok(())
    }

    /// Asks the backend something. `Err` gives the question back: too many wait already, or the backend is gone.
    pub fn ask(&self, question: Question) -> Result<(), Question> {
        self.questions.try_send(question).map_err(|error| error.into_inner())?;
        self.shared.wake();
        Ok(())
    }

    /// Tells the backend to stop: cancelling is dropping.
    pub fn stop(&mut self) {
        {
            let _in_hand = self.shared.in_hand();
            self.shared.stopping.store(true, Ordering::Release);
        }
        self.mailbox = None;
        self.shared.wake();
    }

    /// What the backend has begun and told nothing of yet. After [`Post::stop`] nothing is added.
    pub fn begun(&self) -> Vec<MessageId> {
        self.shared.in_hand().clone()
    }

    /// How long the backend, or the slowest of its hands, has been at work without a sign; `None` while it waits.
    pub fn busy_for(&self) -> Option<Duration> {
        let signs = lock(&self.shared.signs);
        let since =
            signs.iter().map(|sign| sign.load(Ordering::Acquire)).filter(|since| *since != 0).min()?;
        Some(Duration::from_millis(self.shared.milliseconds().saturating_sub(since)))
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        lock(&self.shared.signs).retain(|sign| !Arc::ptr_eq(sign, &self.sign));
    }
}

impl Shared {
    /// The sign of one more thread, at work from now on.
    pub(super) fn sign(&self) -> Sign {
        let sign = Sign::new(AtomicU64::new(self.milliseconds()));
        lock(&self.signs).push(sign.clone());
        sign
    }

    fn milliseconds(&self) -> u64 {
        self.made.elapsed().as_millis() as u64 + 1
    }

    fn in_hand(&self) -> MutexGuard<'_, Vec<MessageId>> {
        lock(&self.in_hand)
    }

    pub(super) fn wake(&self) {
        for waker in &*lock(&self.wakers) {
            waker();
        }
    }
}

/// A panic of the backend while it held the lock leaves nothing half done in there.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Connection, Ids};
    use crate::time::Timestamp;

    /// A router that looks at the watchdog while it is asked.
    struct Slow(Mutex<Option<Post>>);

    impl Slow {
        fn look(&self) {
            let post = lock(&self.0);
            let post = post.as_ref().expect("the router's end");
            assert_eq!(post.busy_for(), None, "who waits for the router is not stuck");
        }
    }

    impl Exchange for Slow {
        fn deliver(&self, _: Incoming) -> Result<MessageId, Refused> {
            self.look();
            Ok(Ids::new(None, 1).next(Timestamp::default()))
        }
        fn report(&self, _: Report) -> Result<(), Refused> {
            Ok(())
        }
        fn sent(&self, _: MessageId, _: Result<Receipt, SendFailure>) {
            self.look();
        }
        fn up(&self, _: &str) {}
        fn note(&self, _: &str) {}
    }

    #[test]
    fn p7_isolation_a_slow_disk_makes_no_backend_look_stuck() {
        let slow = Arc::new(Slow(Mutex::default()));
        let (post, line) = line("zain".into(), 1, slow.clone());
        *lock(&slow.0) = Some(post);
        let id = line.deliver(Incoming::new(Connection::new("zain", "+1"), "hello")).unwrap();
        line.sent(id, Ok(Receipt::default()));
        assert!(lock(&slow.0).as_ref().unwrap().busy_for().is_some(), "then it is at work again");
    }
}
