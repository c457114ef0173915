//! The hand that receives (RFC 9051, RFC 3501): looks for mail, brings each into the router, and marks it as read only when it is on disk.
//!
//! A mail is never marked, moved or deleted before the router has it. A process that ends in between finds the mail again, and the router knows
//! it by its key. Where the server can tell of new mail (IDLE, RFC 2177) nothing is polled.

use super::Health;
use super::headers::Headers;
use super::read::{self, FETCH_LIMIT, Fetched, Letter, NO_SENDER, Reading};
use super::rules::{Receiving, Security};
use super::stream::{Leash, Stream, Wake, trust};
use crate::backends::{BackendError, Line};
use imap::types::UnsolicitedResponse;
use imap::{Client, Session};
use rustls::ClientConfig;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// IDLE is begun anew so often: what was missed is found, and a connection that is dead is noticed.
const IDLE_TIME: Duration = Duration::from_secs(300);
/// So many octets may come in answer to an ordinary command; lists of mails can be long.
const ANSWER_LIMIT: u64 = 16 * 1024 * 1024;
/// And in answer to the fetching of one mail.
const MAIL_LIMIT: u64 = FETCH_LIMIT as u64 + 1024 * 1024;
/// A connection that worked so long is made anew at once when it is lost.
const WORKED: Duration = Duration::from_secs(10);
/// The first and the longest wait when the router cannot take mail.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So many mails are remembered with which there is nothing more to do, although the server may go on to call them unread.
const PASSED_LIMIT: usize = 10_000;

/// What the hand goes by.
pub struct Hand<'a> {
    /// The mailbox.
    pub receiving: &'a Receiving,
    /// The mails.
    pub reading: &'a Reading,
    /// What is said of both hands.
    pub health: &'a Health,
}

/// UIDVALIDITY and UID of mails that are done with: taken in and marked, or such as cannot be fetched. A server that calls them unread all the same is not
/// asked for them again and again.
type Passed = BTreeSet<(u32, u32)>;

/// Why a session is over.
enum End {
    /// It is time to stop.
    Stop,
    /// The connection or the server.
    Lost(String),
    /// The name or the password.
    Login(String),
    /// The settings.
    Refused(String),
    /// The server's answer about this mail cannot be read; the connection is of no more use.
    Unreadable((u32, u32), String),
}

/// Receives until it is time to stop.
pub fn run(line: &Line, hand: &Hand<'_>) -> Result<(), BackendError> {
    let wake = Wake::new(line, None)?;
    let trust = trust(&hand.receiving.peer)?;
    let mut worked = false;
    let mut passed = Passed::new();
    loop {
        let begun = Instant::now();
        let ended = match Mailbox::open(&wake, hand, &trust, line, &mut passed) {
            Ok(mut mailbox) => {
                worked = true;
                hand.health.receives(line, mailbox.sentence());
                match mailbox.work() {
                    Ok(never) => match never {},
                    Err(end) => end,
                }
            }
            Err(end) => end,
        };
        if line.is_stopping() {
            return Ok(());
        }
        let host = &hand.receiving.peer.host;
        match ended {
            End::Stop => return Ok(()),
            End::Unreadable(place, why) => {
                let uid = place.1;
                log::error!(
                    "backend {}: mail {uid} in {} cannot be fetched and stays there unread: {why}",
                    line.name(),
                    hand.receiving.folder
                );
                pass(&mut passed, place);
            }
            End::Lost(why) if worked && begun.elapsed() >= WORKED => {
                log::info!("backend {}: {host} ended the connection ({why}); connecting again", line.name());
            }
            End::Lost(why) => return Err(BackendError::Lost(why)),
            // A password that has worked may be refused by mistake: then it is given once more, at the next start.
            End::Login(why) if worked => return Err(BackendError::Lost(why)),
            End::Login(why) | End::Refused(why) => return Err(BackendError::Refused(why)),
        }
    }
}

/// An open folder.
struct Mailbox<'a> {
    session: Session<Stream<'a>>,
    leash: Leash,
    wake: &'a Wake<'a>,
    hand: &'a Hand<'a>,
    line: &'a Line,
    passed: &'a mut Passed,
    validity: u32,
    can_idle: bool,
    can_move: bool,
    can_expunge: bool,
}

enum Never {}

/// What came of looking for mail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// There was none.
    None,
    /// There was some, and it is taken in or passed over.
    Some,
    /// The router cannot take more at the moment.
    Refused,
}

impl<'a> Mailbox<'a> {
    fn open(
        wake: &'a Wake<'a>,
        hand: &'a Hand<'a>,
        trust: &Arc<ClientConfig>,
        line: &'a Line,
        passed: &'a mut Passed,
    ) -> Result<Mailbox<'a>, End> {
        let Receiving { peer, account, folder, .. } = hand.receiving;
        let leash = Leash::new(peer.timeout);
        let mut stream = Stream::connect(wake, peer, &leash, trust).map_err(End::Lost)?;
        leash.step(ANSWER_LIMIT);
        if peer.security == Security::StartTls {
            stream = start_tls(stream, hand, trust)?;
        }
        let mut client = Client::new(stream);
        if peer.security != Security::StartTls {
            client.read_greeting().map_err(|error| lost(&peer.host, "greets strangely", &error))?;
        }
        leash.step(ANSWER_LIMIT);
        let mut session = match client.login(&account.username, account.password.expose()) {
            Ok(session) => session,
            Err((error, _)) => return Err(login_trouble(hand.receiving, &error)),
        };
        leash.step(ANSWER_LIMIT);
        let known =
            session.capabilities().map_err(|error| lost(&peer.host, "does not say what it can", &error))?;
        let (can_idle, can_move, can_expunge) =
            (known.has_str("IDLE"), known.has_str("MOVE"), known.has_str("UIDPLUS"));
        drop(known);
        if let Some(move_to) = &hand.receiving.move_to {
            leash.step(ANSWER_LIMIT);
            // It is mostly there already; whether mails can be moved into it is seen then.
            let _ = session.create(move_to);
        }
        leash.step(ANSWER_LIMIT);
        let opened = session.select(folder).map_err(|error| match error {
            imap::Error::No(_) | imap::Error::Bad(_) | imap::Error::Validate(_) => End::Refused(format!(
                "{} has no folder {folder:?} for {} ({error}): see folder in the settings",
                peer.host, account.username
            )),
            error => lost(&peer.host, "does not open the folder", &error),
        })?;
        if opened.is_read_only {
            return Err(End::Refused(format!(
                "{} gives folder {folder:?} to {} for reading only, so mail could not be marked as read",
                peer.host, account.username
            )));
        }
        let validity = opened.uid_validity.unwrap_or_default();
        let can_idle = can_idle && hand.receiving.idle;
        Ok(Mailbox { session, leash, wake, hand, line, passed, validity, can_idle, can_move, can_expunge })
    }

    fn sentence(&self) -> String {
        let Receiving { peer, account, folder, poll_interval, .. } = self.hand.receiving;
        let how = match self.can_idle {
            true => "told of new mail at once".to_string(),
            false => format!("looking every {} s", poll_interval.as_secs()),
        };
        format!("mail of {} in {folder} at {}, {how}", account.username, peer.host)
    }

    /// Takes in what is there, waits, and so on.
    fn work(&mut self) -> Result<Never, End> {
        let mut wait = FIRST_WAIT;
        loop {
            let round = self.take_in()?;
            if self.line.is_stopping() {
                return Err(End::Stop);
            }
            if round == Round::Refused {
                self.wake.pause(wait);
                wait = (wait * 2).min(LONGEST_WAIT);
                continue;
            }
            wait = FIRST_WAIT;
            // What the server says in passing while a mail is marked or moved is heard by nobody, so one looks again before one waits: only
            // what it says during that last look is kept.
            if round == Round::Some || self.has_news() {
                continue;
            }
            if self.can_idle {
                self.idle()?;
            } else {
                self.wake.pause(self.hand.receiving.poll_interval);
            }
        }
    }

    /// Takes in the unread mails, oldest first.
    fn take_in(&mut self) -> Result<Round, End> {
        self.leash.step(ANSWER_LIMIT);
        let unread = self.session.uid_search("UNSEEN UNDELETED");
        let mut unread: Vec<u32> =
            unread.map_err(|error| self.lost("cannot look for mail", &error))?.into_iter().collect();
        unread.retain(|&uid| !self.passed.contains(&(self.validity, uid)));
        unread.sort_unstable();
        let round = if unread.is_empty() { Round::None } else { Round::Some };
        for uid in unread {
            if self.line.is_stopping() {
                return Err(End::Stop);
            }
            if !self.take_one(uid)? {
                return Ok(Round::Refused);
            }
        }
        Ok(round)
    }

    /// `false`: the router cannot take it at the moment.
    fn take_one(&mut self, uid: u32) -> Result<bool, End> {
        let Some((octets, size)) = self.fetch(uid)? else { return Ok(true) };
        let fetched = Fetched { octets: &octets, size, place: (self.validity, uid) };
        let Letter { incoming, reports } = read_safely(fetched, self.hand.reading);
        let name = self.line.name().clone();
        for report in reports {
            if let Err(refused) = self.line.report(report) {
                if refused.is_temporary() {
                    return Ok(false);
                }
                log::warn!("backend {name}: the report in mail {uid} was not taken: {refused}");
            }
        }
        let refused = match self.line.deliver(incoming) {
            Ok(_) => return self.mark(uid).map(|()| true),
            Err(refused) => refused,
        };
        if refused.is_temporary() {
            self.hand.health.mentions(self.line, &format!("mail waits on the server: {refused}"));
            return Ok(false);
        }
        // What cannot be a message is kept with its octets all the same.
        let reason = format!("the router does not take it: {refused}");
        let key = read::place_key((self.validity, uid));
        let letter = read::aside(NO_SENDER, &octets, reason, key, self.hand.reading);
        match self.line.deliver(letter.incoming) {
            Ok(_) => self.mark(uid).map(|()| true),
            Err(refused) if refused.is_temporary() => Ok(false),
            Err(refused) => {
                log::error!("backend {name}: mail {uid} is not taken and stays unread: {refused}");
                self.pass(uid);
                Ok(true)
            }
        }
    }

    /// Some of a mail, and how long it is. `None`: it is gone.
    fn fetch(&mut self, uid: u32) -> Result<Option<(Vec<u8>, usize)>, End> {
        self.leash.step(MAIL_LIMIT);
        let what = format!("(UID RFC822.SIZE BODY.PEEK[]<0.{FETCH_LIMIT}>)");
        let fetched = match self.session.uid_fetch(uid.to_string(), &what) {
            Ok(fetched) => fetched,
            Err(imap::Error::No(why)) => {
                log::error!(
                    "backend {}: the server does not give mail {uid}, which stays unread: {why:?}",
                    self.line.name()
                );
                self.pass(uid);
                return Ok(None);
            }
            // The library says so, too, of an answer that it cannot read.
            Err(imap::Error::Bye(bye)) if bye.information.starts_with("no explanation") => {
                return Err(End::Unreadable((self.validity, uid), "the answer cannot be read".into()));
            }
            Err(error @ (imap::Error::Io(_) | imap::Error::ConnectionLost | imap::Error::Bye(_))) => {
                return Err(self.lost("does not give a mail", &error));
            }
            Err(error) => return Err(End::Unreadable((self.validity, uid), error.to_string())),
        };
        let found = fetched.iter().find(|fetch| fetch.uid == Some(uid) && fetch.body().is_some());
        Ok(found.map(|fetch| {
            let octets = fetch.body().unwrap_or_default().to_vec();
            let size = fetch.size.and_then(|size| usize::try_from(size).ok()).unwrap_or(octets.len());
            (octets, size)
        }))
    }

    /// The router has it on disk: it is read, and goes where such mail goes.
    fn mark(&mut self, uid: u32) -> Result<(), End> {
        self.leash.step(ANSWER_LIMIT);
        self.session
            .uid_store(uid.to_string(), "+FLAGS.SILENT (\\Seen)")
            .map_err(|error| self.lost("cannot mark mail as read", &error))?;
        self.pass(uid);
        let Some(move_to) = &self.hand.receiving.move_to else { return Ok(()) };
        self.leash.step(ANSWER_LIMIT);
        let set = uid.to_string();
        let moved = if self.can_move {
            self.session.uid_mv(&set, move_to)
        } else {
            // The order of RFC 6851, 1: nothing is deleted that is not copied.
            self.session.uid_copy(&set, move_to).and_then(|()| {
                self.leash.step(ANSWER_LIMIT);
                self.session.uid_store(&set, "+FLAGS.SILENT (\\Deleted)")?;
                self.leash.step(ANSWER_LIMIT);
                // Without UIDPLUS others' deleted mails would go, too; then this one waits for whoever tidies up.
                if self.can_expunge { self.session.uid_expunge(&set).map(drop) } else { Ok(()) }
            })
        };
        match moved {
            Ok(()) => Ok(()),
            Err(error @ (imap::Error::No(_) | imap::Error::Bad(_))) => {
                log::warn!(
                    "backend {}: mail {uid} is read but cannot be moved to {move_to}: {error}",
                    self.line.name()
                );
                Ok(())
            }
            Err(error) => Err(self.lost("cannot move mail", &error)),
        }
    }

    /// Waits until the server tells of new mail, or for a while.
    fn idle(&mut self) -> Result<(), End> {
        self.leash.step(ANSWER_LIMIT);
        let waited = {
            let mut handle = self.session.idle();
            handle.timeout(IDLE_TIME).keepalive(false).wait_while(|news| !is_new_mail(&news))
        };
        waited.map(drop).map_err(|error| self.lost("does not wait for mail", &error))
    }

    /// Whether the server told of new mail in passing.
    fn has_news(&mut self) -> bool {
        self.session.take_all_unsolicited().filter(is_new_mail).count() > 0
    }

    fn pass(&mut self, uid: u32) {
        pass(self.passed, (self.validity, uid));
    }

    fn lost(&self, what: &str, error: &imap::Error) -> End {
        lost(&self.hand.receiving.peer.host, what, error)
    }
}

fn pass(passed: &mut Passed, place: (u32, u32)) {
    if passed.len() >= PASSED_LIMIT {
        passed.pop_first();
    }
    passed.insert(place);
}

fn is_new_mail(news: &UnsolicitedResponse) -> bool {
    matches!(news, UnsolicitedResponse::Exists(_) | UnsolicitedResponse::Recent(_))
}

/// A mail that breaks the reader must not be met again and again: it is kept aside.
fn read_safely(fetched: Fetched<'_>, rules: &Reading) -> Letter {
    catch_unwind(AssertUnwindSafe(|| read::read(fetched, rules))).unwrap_or_else(|_| {
        let headers = Headers::parse(fetched.octets);
        log::error!("a mail broke its reader ({} header lines); it is kept aside", headers.names().count());
        let reason = "the reader of mails failed over it";
        read::aside(NO_SENDER, fetched.octets, reason, read::place_key(fetched.place), rules)
    })
}

/// STARTTLS by hand (RFC 9051, 6.2.1), since nothing may be said, or believed, before it.
fn start_tls<'a>(
    mut stream: Stream<'a>,
    hand: &Hand<'_>,
    trust: &Arc<ClientConfig>,
) -> Result<Stream<'a>, End> {
    let peer = &hand.receiving.peer;
    let gone = |error: std::io::Error| End::Lost(format!("{} gave no answer: {error}", peer.host));
    let greeting = stream.read_line(2048).map_err(gone)?;
    if !greeting.starts_with(b"* OK") {
        let said = String::from_utf8_lossy(&greeting).chars().take(200).collect::<String>();
        return Err(End::Lost(format!("{} greets strangely: {said:?}", peer.host)));
    }
    stream.write_all(b"s1 STARTTLS\r\n").and_then(|()| stream.flush()).map_err(gone)?;
    for _ in 0..20 {
        let answer = stream.read_line(2048).map_err(gone)?;
        if answer.starts_with(b"* ") {
            continue;
        }
        if !answer.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"s1 OK")) {
            return Err(End::Lost(format!(
                "{} offers no STARTTLS at port {}, and without TLS nothing is said to it: use imap_ssl = true with port 993, \
                 or tls = \"off\" if it is trusted and near",
                peer.host, peer.port
            )));
        }
        return stream.secure(peer, trust).map_err(End::Lost);
    }
    Err(End::Lost(format!("{} does not answer STARTTLS", peer.host)))
}

/// A refused login: of the password, or for the moment (RFC 5530, 3).
fn login_trouble(receiving: &Receiving, error: &imap::Error) -> End {
    let host = &receiving.peer.host;
    match error {
        imap::Error::No(_) | imap::Error::Bad(_) | imap::Error::Validate(_) => {
            let said = format!("{error} {error:?}");
            let passing = ["UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "Temporary"];
            if passing.iter().any(|word| said.contains(word)) {
                return End::Lost(format!("{host} cannot log anybody in at the moment: {error}"));
            }
            End::Login(format!(
                "{host} refuses the login of {}: {error}; see username and password in the settings",
                receiving.account.username
            ))
        }
        error => lost(host, "does not answer the login", error),
    }
}

fn lost(host: &str, what: &str, error: &imap::Error) -> End {
    let said: String = error.to_string().chars().filter(|letter| !letter.is_control()).take(300).collect();
    End::Lost(format!("{host} {what}: {said}"))
}
