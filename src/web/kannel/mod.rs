//! Kannel's own interface, so that programs written for a Kannel point at this router and go on working: `/cgi-bin/sendsms` and the
//! status pages (Kannel user guide, chapters "Using the SMS push" and "Administration"; where the guide and Kannel 1.4.5 disagree, the program is followed).
//!
//! ```toml
//! [kannel_server]
//! listen = "127.0.0.1:13013"
//! backend = "Zain"
//!
//! [kannel_server.users.rapidsms]
//! password = { env = "KANNEL_PASSWORD" }
//! ```
//!
//! [`parameters`] reads requests, [`sendsms`] makes messages of them, [`status`] writes the status. `0: Accepted for delivery` is answered when the
//! messages are on disk, and not before. It never sends on HEAD, as Kannel does, and never answers anything but a refusal to who shows no password.
//!
//! When the store cannot take a message, programs are answered `503` as Kannel answers, and try again. A Kannel that is itself the client is not
//! answered at all: its connection is closed, because to it every status means "never again" but a lost connection means "later".

pub mod parameters;
pub mod sendsms;
pub mod status;

use super::door::{Reply, Site as Serve};
use super::intake::Gateways;
use super::site::{Read, say};
use crate::http::{Request, Response, secret};
use crate::hub::board::Board;
use crate::hub::event::{Event, Told};
use crate::message::MessageId;
use crate::pdu::Splitting;
use crate::router::{Refusal as Kind, Refused};
use crate::settings::KannelServer;
use crossbeam_channel::{Sender, TrySendError};
use parameters::Parameters;
use sendsms::{Lines, Orders, Refusal};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What Kannel's answers say of their type.
const TYPE: &str = "text/html";
/// Where messages are sent.
const SENDSMS: &str = "/cgi-bin/sendsms";
/// How a Kannel names itself.
const KANNEL: &str = "Kannel/";

/// Who may use this router as a Kannel: the settings of today, shared by all listeners.
#[derive(Clone, Default)]
pub struct Rules(Arc<RwLock<Option<Arc<KannelServer>>>>);

impl Rules {
    /// Other settings from now on; `None` switches it off.
    pub fn set(&self, server: Option<&KannelServer>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = server.cloned().map(Arc::new);
    }

    /// The settings, when it is switched on.
    pub fn get(&self) -> Option<Arc<KannelServer>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves the paths of a Kannel.
#[derive(Clone)]
pub struct Kannel {
    /// The way to the router, and who may ask.
    pub gateways: Gateways,
    /// How everything is.
    pub board: Board,
    /// The way to the page threads, which read the store for the status.
    pub readers: Sender<Read>,
}

/// Whether a path is one of a Kannel.
pub fn is_path(path: &str) -> bool {
    path == SENDSMS || status::Form::of(path).is_some()
}

/// A listener of its own serves these paths and no other.
impl Serve for Kannel {
    fn serve(&mut self, request: Request, reply: Reply) {
        match self.gateways.kannel.get() {
            Some(server) if is_path(request.path()) => self.answer(&server, request, reply),
            _ => reply.send(words(404, "Unknown request.")),
        }
    }
}

impl Kannel {
    /// Serves one request whose path [`is_path`].
    pub fn answer(&self, server: &KannelServer, request: Request, reply: Reply) {
        if request.path() != SENDSMS {
            return self.status(server, request, reply);
        }
        match request.method() {
            "GET" | "POST" => self.sendsms(server, &request, reply),
            // A Kannel sends on HEAD. Nobody who asks for a head alone means that.
            "HEAD" => {
                let sentence = "HEAD sends nothing here; possible: GET, POST";
                reply.send(Response::error(405, sentence).header("Allow", "GET, POST"));
            }
            _ => reply.send(words(400, "")),
        }
    }

    fn sendsms(&self, server: &KannelServer, request: &Request, reply: Reply) {
        let peer = request.peer().map(|peer| peer.ip());
        let read = Parameters::of(request).map_err(Refusal::from).and_then(|parameters| {
            sendsms::orders(&parameters, peer, server, &OnBoard(&self.board), (self.gateways.clock)())
        });
        let from = peer.map_or_else(|| "this machine".to_string(), |peer| peer.to_string());
        match read {
            Ok(orders) => self.submit(orders, is_kannel(request), reply),
            Err(refusal) => {
                let note = refusal.note.as_deref().unwrap_or_default();
                log::warn!("sendsms of {from} refused: {} {} {note}", refusal.status, refusal.words);
                reply.send(refused(&refusal));
            }
        }
    }

    fn submit(&self, orders: Orders, chained: bool, reply: Reply) {
        let Orders { drafts, user, left_out } = orders;
        if !left_out.is_empty() {
            let count = left_out.len();
            log::warn!("sendsms of user {user}: {count} receivers left out, because they are no numbers");
        }
        let gathered =
            Gathered { expected: drafts.len(), ids: Vec::new(), refused: None, reply: Some(reply) };
        let gathered = Arc::new(Mutex::new(gathered));
        for (place, draft) in drafts.into_iter().enumerate() {
            let gathered = Arc::clone(&gathered);
            let told: Told<MessageId> = Box::new(move |result| decided(&gathered, place, result, chained));
            say(&self.gateways.mouth, Event::Submit { draft, actor: "kannel_server", key: None, told });
        }
    }

    /// The status is read by a page thread. As with Kannel every answer is 200, a refusal too.
    fn status(&self, server: &KannelServer, request: Request, reply: Reply) {
        if !matches!(request.method(), "GET" | "HEAD") {
            return reply.send(words(400, ""));
        }
        match &server.status_password {
            Some(password) => {
                let given = Parameters::of_query(&request);
                if !secret::is_equal(given.get(&["password"]).unwrap_or_default(), password.expose()) {
                    return reply.send(status::denied());
                }
            }
            None => {
                if let Err(denied) = self.gateways.access.admit(&request) {
                    return reply.send(denied);
                }
            }
        }
        // No path of a request is no segment at all: so only this can ask for it.
        let now = (self.gateways.clock)();
        match self.readers.try_send(Read { request, segments: Vec::new(), now, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(read) | TrySendError::Disconnected(read)) => {
                read.reply.send(words(503, "Temporal failure, try again later."));
            }
        }
    }
}

/// The backends as the notice board has them.
struct OnBoard<'b>(&'b Board);

impl Lines for OnBoard<'_> {
    fn knows(&self, name: &str) -> bool {
        self.0.knows(name)
    }

    fn splitting(&self, name: &str) -> Splitting {
        let notices = self.0.lock();
        // A group cuts as its first member does: its members are lines of one kind.
        let group = notices.groups.iter().find(|group| *group.name == *name);
        let name = group.and_then(|group| group.members.first()).map_or(name, |member| member);
        notices.backends.get(name).and_then(|notice| notice.splitting.clone()).unwrap_or_default()
    }
}

/// The messages of one request on their way to the disk.
struct Gathered {
    expected: usize,
    /// In the order of the receivers.
    ids: Vec<(usize, MessageId)>,
    refused: Option<Refused>,
    reply: Option<Reply>,
}

/// One more is decided; the last one answers. If any could not be stored the program is told so, and may send all of them again: better twice than never.
fn decided(gathered: &Mutex<Gathered>, place: usize, result: Result<MessageId, Refused>, chained: bool) {
    let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
    gathered.expected = gathered.expected.saturating_sub(1);
    match result {
        Ok(id) => gathered.ids.push((place, id)),
        Err(refused) if gathered.refused.as_ref().is_none_or(|before| !before.is_temporary()) => {
            gathered.refused = Some(refused);
        }
        Err(_) => {}
    }
    if gathered.expected > 0 {
        return;
    }
    let Some(reply) = gathered.reply.take() else { return };
    match &gathered.refused {
        Some(why) if why.is_temporary() => {
            let who =
                if chained { " from a Kannel, which is not answered so that it comes again" } else { "" };
            log::warn!("sendsms: a message{who} could not be taken: {why}");
            if chained {
                reply.hang_up();
            } else {
                reply.send(words(503, "Temporal failure, try again later.").header("Retry-After", "2"));
            }
        }
        // With some taken and some not, Kannel says yes: those that are left are the bad ones among good ones.
        Some(why) if gathered.ids.is_empty() => {
            log::warn!("sendsms: a message was refused: {why}");
            reply.send(refused(&of_router(why)));
        }
        _ => {
            gathered.ids.sort_unstable();
            let ids: Vec<String> = gathered.ids.iter().map(|(_, id)| id.to_string()).collect();
            reply.send(words(202, "0: Accepted for delivery").header("X-Message-Id", ids.join(" ")));
        }
    }
}

/// What the router does not take, in Kannel's words.
fn of_router(refused: &Refused) -> Refusal {
    match refused.refusal {
        Kind::UnknownBackend => Refusal::not_routable(),
        Kind::TooLong => Refusal { status: 400, words: "Message too long, rejected".into(), note: None },
        _ => Refusal::denied(),
    }
}

/// Kannel 1.4.5 does not name itself when it sends by an smsc of the kind `http`. Whoever else has no name can bear a lost connection as well: to no
/// client does it mean that the message was taken.
fn is_kannel(request: &Request) -> bool {
    request.header("user-agent").is_none_or(|agent| agent.starts_with(KANNEL))
}

fn refused(refusal: &Refusal) -> Response {
    words(refusal.status, refusal.words.clone())
}

/// An answer in Kannel's form: the words, and no line end behind them.
fn words(status: u16, words: impl Into<String>) -> Response {
    Response::bytes(status, TYPE, words.into().into_bytes())
}
