//! A program of your own: the router with one more engine and one more app. `docs/writing-an-engine.md` walks through it.
//!
//! ```console
//! $ cargo run --example own_program -- run_router --settings examples/own_program.toml
//! ```
//!
//! The engine `datagram` speaks to a gateway by UDP, one datagram for a message and one for its answer:
//!
//! | from | datagram | answer |
//! |---|---|---|
//! | gateway | `KEY IDENTITY TEXT` | `OK ID` once the message is on disk, or `NO REASON`: then the gateway keeps it |
//! | engine | `ID IDENTITY TEXT` | `OK KEY` when the gateway took it, or `NO REASON` |

use mio::{Events, Interest, Poll, Token, Waker};
use rapidsms::apps::handlers::{HandlerError, Handlers, number};
use rapidsms::apps::{Message, keyword::KeywordHandler};
use rapidsms::backends::{Backend, BackendError, Engine, Line, Mail};
use rapidsms::message::{Connection, Incoming, Outgoing, Receipt, SendFailure};
use rapidsms::registry::{AppKind, Registry};
use rapidsms::settings::{AppSpec, BackendSettings, EngineSpec, Key, Kind};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

/// What the settings know of the engine: its name, its keys, and how to make a backend of them.
const ENGINE: Engine = Engine::plain(SPEC, build);

const SPEC: EngineSpec = EngineSpec {
    name: "datagram",
    aliases: &[],
    keys: &[
        Key::new("listen", Kind::Text, "where the gateway delivers").required().such_as("127.0.0.1:9001"),
        Key::new("gateway", Kind::Text, "where the gateway takes messages").required(),
        Key::new("timeout", ANSWER_TIME, "how long the gateway may take to answer").or("2 s"),
    ],
    built: true,
    tester: false,
    about: "a gateway that speaks UDP",
};
const ANSWER_TIME: Kind = Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(30) };
const LONGEST: usize = 65_536;
const GATEWAY: Token = Token(0);
const MAILBOX: Token = Token(1);

struct Datagram {
    listen: SocketAddr,
    gateway: SocketAddr,
    timeout: Duration,
}

/// Reads the settings. Nothing is opened yet, and what cannot work parks the backend until somebody mends it.
fn build(settings: &BackendSettings) -> Result<Box<dyn Backend>, BackendError> {
    let address = |key: &str| {
        let text = settings.options.text(key).unwrap_or_default();
        text.parse().map_err(|_| BackendError::Refused(format!("{key} = \"{text}\" is no address:port")))
    };
    let timeout = settings.options.duration("timeout").unwrap_or(Duration::from_secs(2));
    Ok(Box::new(Datagram { listen: address("listen")?, gateway: address("gateway")?, timeout }))
}

impl Backend for Datagram {
    /// One wait for everything that can happen: a datagram, a message to send, the order to stop.
    fn run(&mut self, line: &Line) -> Result<(), BackendError> {
        let listen = self.listen;
        let lost = |error: io::Error| BackendError::Lost(format!("{listen}: {error}"));
        let mut poll = Poll::new().map_err(lost)?;
        let mut socket = mio::net::UdpSocket::bind(listen).map_err(lost)?;
        poll.registry().register(&mut socket, GATEWAY, Interest::READABLE).map_err(lost)?;
        let waker = Waker::new(poll.registry(), MAILBOX).map_err(lost)?;
        line.on_mail(move || drop(waker.wake()));
        line.up(&format!("listening on {}", socket.local_addr().map_err(lost)?));
        let (mut events, mut datagram) = (Events::with_capacity(8), [0; LONGEST]);
        loop {
            let mailed = match line.try_next() {
                Mail::Send(outgoing) => {
                    line.sent(outgoing.id, self.send(&outgoing));
                    true
                }
                Mail::Nothing => false,
                Mail::Stop => return Ok(()),
            };
            let heard = match socket.recv_from(&mut datagram) {
                Ok((length, from)) => {
                    let answer = receive(line, &datagram[..length]);
                    // A gateway that misses the answer offers the message again, under the same key.
                    drop(socket.send_to(answer.as_bytes(), from));
                    true
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => return Err(lost(error)),
            };
            if !mailed && !heard {
                line.waiting();
                match poll.poll(&mut events, None) {
                    Err(error) if error.kind() != ErrorKind::Interrupted => return Err(lost(error)),
                    _ => line.working(),
                }
            }
        }
    }

    /// One attempt. What the error says decides what happens next, so each says no more than what is known.
    fn send(&mut self, outgoing: &Outgoing) -> Result<Receipt, SendFailure> {
        let before = |error: io::Error| SendFailure::Temporary(error.to_string());
        let here = SocketAddr::new(self.listen.ip(), 0);
        let socket = UdpSocket::bind(here).map_err(before)?;
        socket.connect(self.gateway).map_err(before)?;
        socket.set_read_timeout(Some(self.timeout)).map_err(before)?;
        let text = format!("{} {} {}", outgoing.id, outgoing.connection.identity, outgoing.text);
        socket.send(text.as_bytes()).map_err(before)?;
        let mut answer = [0; 512];
        let length = match socket.recv(&mut answer) {
            Ok(length) => length,
            // Nobody listens there, says the system: nothing has left.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Err(before(error)),
            Err(error) => return Err(SendFailure::Unsure(format!("the gateway did not answer: {error}"))),
        };
        let answer = String::from_utf8_lossy(&answer[..length]).trim().to_string();
        match answer.split_once(' ') {
            Some(("OK", key)) => Ok(Receipt { remote_ids: vec![key.to_string()], ..Receipt::default() }),
            Some(("NO", reason)) => Err(SendFailure::Permanent(reason.to_string())),
            _ => Err(SendFailure::Unsure(format!("the gateway answered \"{}\"", answer.escape_debug()))),
        }
    }
}

/// Takes one datagram from the gateway and says what to answer.
fn receive(line: &Line, datagram: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(datagram) else { return "NO it is not UTF-8\n".into() };
    let mut words = text.trim_end().splitn(3, ' ');
    let (Some(key), Some(identity), Some(text)) = (words.next(), words.next(), words.next()) else {
        return "NO write KEY IDENTITY TEXT\n".into();
    };
    let mut incoming = Incoming::new(Connection::new(line.name().clone(), identity), text);
    incoming.redelivery_key = Some(key.to_string());
    match line.deliver(incoming) {
        Ok(id) => format!("OK {id}\n"),
        Err(refused) => format!("NO {refused}\n"),
    }
}

/// `STOCK 12` from a health post.
struct Stock;

impl KeywordHandler for Stock {
    fn keyword(&self) -> &str {
        "stock"
    }

    fn help(&mut self, message: &mut Message) -> Result<(), HandlerError> {
        message.respond("To report your stock, send: STOCK <BOXES>");
        Ok(())
    }

    fn handle(&mut self, message: &mut Message, text: &str) -> Result<(), HandlerError> {
        let boxes: u32 = number(text)?;
        message.respond(format!("Thank you: {boxes} boxes noted."));
        Ok(())
    }
}

/// What is in the box, the engine and the app.
pub fn registry() -> Registry {
    let spec = AppSpec { name: "stock", aliases: &[], keys: &[], about: "takes stock reports" };
    let stock = AppKind { spec, build: |_, _| Ok(Box::new(Handlers::new().keyword(Stock))) };
    Registry::standard().with_engine(ENGINE).with_app(stock)
}

fn main() -> ExitCode {
    ExitCode::from(u8::try_from(rapidsms::cli::main_with(registry())).unwrap_or(1))
}
