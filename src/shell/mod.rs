//! The daemon around the router: threads, channels, the wall clock, signals. The only room that spawns threads.
//!
//! | thread | does |
//! |---|---|
//! | `router` | owns the router and the store's writer ([`core`]) |
//! | `backend/NAME` | one backend, started again for ever (`supervisor`) |
//! | `web`, `web/2` ... | one listener each; `control` the same for the command line's Unix socket, `web/NAME` for a backend's own, `kannel/N` for Kannel's interface |
//! | `app/NAME/N` | what an app waits for, such as a program behind HTTP ([`Workforce`]) |
//! | `keeper` | moves what is committed from the store's log into its file |
//! | `page/N` | pages and the reading API, each with a reader of its own on the store |
//! | `check` | after an unclean stop: reads the whole store once, then ends |
//! | `caller/N` | calls programs about their messages, from the first such call on (`callers`) |
//! | `signals` | turns signals into events |
//! | `log` | writes the log, so that a reader who stops reading stops nobody else ([`journal`]) |

mod callers;
pub mod core;

pub mod journal;
mod listener;
pub(crate) mod rules;
mod signals;
mod supervisor;
mod workforce;

pub use self::core::{Ending, Keeping};
pub use self::workforce::Workforce;

use crate::backends::Intakes;
use crate::hub::board::Board;
use crate::hub::event::{self, Event, Mouth};
use crate::message::TEXT_LIMIT;
use crate::registry::Registry;
use crate::router::{Policy, Router};
use crate::settings::{Settings, SettingsError};
use crate::store::sqlite::{Opened, Sqlite};
use crate::store::{Keeper, Store, StoreError};
use crate::time::Timestamp;
use crate::web::door::{Door, DoorHandle, Limits};
use crate::web::intake::Gateways;
use crate::web::kannel::{self, Kannel};
use crate::web::pages;
use crate::web::site::{Access, Read, Site};
use crossbeam_channel::Sender;
use journal::Journal;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Threads that make pages.
const PAGE_THREADS: usize = 2;
/// Requests for pages that may wait for a page thread.
const PAGE_QUEUE: usize = 256;

/// A running router with everything around it.
pub struct Daemon {
    mouth: Mouth,
    board: Board,
    addresses: Vec<SocketAddr>,
    router: JoinHandle<Ending>,
    doors: Vec<(DoorHandle, JoinHandle<()>)>,
    readers: Sender<Read>,
    pages: Vec<JoinHandle<()>>,
    socket: PathBuf,
}

/// Why the daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// The settings are wrong.
    Settings(SettingsError),
    /// The store cannot be used.
    Store(StoreError),
    /// An address cannot be listened on, or a thread cannot be had.
    System(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Settings(error) => error.fmt(f),
            StartError::Store(error) => error.fmt(f),
            StartError::System(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

/// Where the command line finds the daemon that has the store at `database` open: beside the file itself, so that a symbolic link
/// leads to the same daemon.
pub fn control_socket(database: &Path) -> PathBuf {
    let real = std::fs::canonicalize(database);
    beside(real.as_deref().unwrap_or(database), ".sock")
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_os_string();
    name.push(ending);
    name.into()
}

impl Daemon {
    /// Starts everything. When this returns, messages are accepted.
    pub fn start(settings: Settings, registry: Registry) -> Result<Daemon, StartError> {
        let system = |error: io::Error| StartError::System(error.to_string());
        let apps = registry.build_apps(&settings).map_err(StartError::Settings)?;
        let database = settings.database.path.clone();
        let Opened { store, notes, unclean } = open(&database).map_err(StartError::Store)?;
        for note in notes {
            log::warn!("{note}");
        }
        let mut readers = Vec::with_capacity(PAGE_THREADS);
        for _ in 0..PAGE_THREADS {
            readers.push(store.reader().map_err(StartError::Store)?);
        }
        let mut doors = Vec::new();
        if settings.web.enabled {
            for address in &settings.web.listen {
                doors.push(Door::bind(*address, limits(&settings)).map_err(system)?);
            }
        }
        let addresses: Vec<SocketAddr> = doors.iter().filter_map(Door::local_addr).collect();
        let mut kannel_doors = Vec::new();
        for address in settings.kannel_server.iter().flat_map(|server| &server.listen) {
            let door = Door::bind(*address, limits(&settings)).map_err(system)?;
            if let Some(address) = door.local_addr() {
                log::info!("Kannel's interface is at http://{address}/cgi-bin/sendsms");
            }
            kannel_doors.push(door);
        }
        let socket = control_socket(&database);
        doors.push(Door::bind_unix(&socket, control_limits()).map_err(system)?);

        let (mouth, events) = event::channel();
        let board = Board::default();
        let newest = store.newest().map_or(Timestamp::default(), |id| id.time());
        let keeping = store.keeper().map(keep).transpose()?;
        let router = Router::new(Box::new(store), apps, Policy::default(), seed());
        let gateways = Gateways {
            intakes: Intakes::default(),
            access: Access { token: settings.web.token.clone(), hosts: settings.web.hosts.clone() },
            mouth: mouth.clone(),
            clock: wall,
            kannel: kannel::Rules::default(),
        };
        let mut core =
            core::Core::new(router, registry, settings, (gateways.clone(), events), board.clone(), newest);
        if let Some(keeping) = keeping {
            core = core.with_keeper(keeping);
        }
        let (ready, started) = crossbeam_channel::bounded(1);
        let router = spawn("router".into(), move || {
            core.start();
            // `start` waits for this; it cannot be gone before.
            let _ = ready.send(());
            core.run()
        })?;
        started.recv().map_err(|_| StartError::System("the router's thread ended at its start".into()))?;

        let (reads, queue) = crossbeam_channel::bounded(PAGE_QUEUE);
        let mut daemon = Daemon {
            mouth: mouth.clone(),
            board: board.clone(),
            addresses,
            router,
            doors: Vec::new(),
            readers: reads,
            pages: Vec::new(),
            socket,
        };
        for (index, reader) in readers.into_iter().enumerate() {
            let (queue, board) = (queue.clone(), board.clone());
            let page = spawn(format!("page/{}", index + 1), move || pages::serve(&queue, &board, reader))?;
            daemon.pages.push(page);
        }
        let last = doors.len() - 1;
        for (index, door) in doors.into_iter().enumerate() {
            let site =
                Site { board: board.clone(), readers: daemon.readers.clone(), gateways: gateways.clone() };
            let name = match index {
                _ if index == last => "control".to_string(),
                0 => "web".to_string(),
                _ => format!("web/{}", index + 1),
            };
            daemon.open(name, door, site)?;
        }
        for (index, door) in kannel_doors.into_iter().enumerate() {
            let site =
                Kannel { board: board.clone(), readers: daemon.readers.clone(), gateways: gateways.clone() };
            daemon.open(format!("kannel/{}", index + 1), door, site)?;
        }
        if unclean {
            spawn("check".into(), move || check(&database, &mouth))?;
        }
        core::notify(&[sd_notify::NotifyState::Ready]);
        Ok(daemon)
    }

    /// Starts a listener's thread.
    fn open(
        &mut self,
        name: String,
        door: Door,
        site: impl crate::web::door::Site + Send + 'static,
    ) -> Result<(), StartError> {
        let (handle, mouth) = (door.handle(), self.mouth.clone());
        let thread = spawn(name, move || {
            if let Err(error) = door.run(site) {
                log::error!("a listener failed ({error}): this process ends and begins again");
                mouth.say(Event::Restart);
            }
        })?;
        self.doors.push((handle, thread));
        Ok(())
    }

    /// The addresses listened on, with the ports that were chosen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How everything is.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The way to the router.
    pub fn mouth(&self) -> &Mouth {
        &self.mouth
    }

    /// Asks for a clean stop; [`Daemon::wait`] returns when it is done.
    pub fn stop(&self) {
        self.mouth.say(Event::Stop);
    }

    /// Waits until the router has ended, then stops everything else.
    pub fn wait(self) -> Ending {
        let Daemon { router, doors, readers, pages, socket, .. } = self;
        let ending = router.join().unwrap_or_else(|panic| {
            // A fault of this program, not of a message: begin again with a clean memory.
            log::error!("the router's thread panicked: {}", crate::phases::said(&*panic));
            Ending::Restart
        });
        for (handle, _) in &doors {
            handle.stop();
        }
        for (_, thread) in doors {
            let _ = thread.join();
        }
        drop(readers);
        for page in pages {
            let _ = page.join();
        }
        if let Err(error) = std::fs::remove_file(&socket) {
            log::debug!("{} was not removed: {error}", socket.display());
        }
        ending
    }
}

/// Opens the store. A command such as `rapidsms send` may hold it for a moment, which is worth waiting for; another
/// daemon holds it for good and answers at its socket.
fn open(database: &Path) -> Result<Opened, StoreError> {
    const PATIENCE: Duration = Duration::from_secs(3);
    match Sqlite::open(database, wall()) {
        Err(StoreError::InUse(_)) if UnixStream::connect(control_socket(database)).is_err() => {
            let (free, freed) = crossbeam_channel::bounded(1);
            let lock = control_socket(database).with_extension("lock");
            // Nobody waits for this thread: when the lock is not freed in time, the process ends.
            let waiting = spawn("lock".into(), move || {
                if let Ok(file) = File::open(lock)
                    && file.lock().is_ok()
                {
                    drop(file);
                    let _ = free.send(());
                }
            });
            if waiting.is_ok() {
                let _ = freed.recv_timeout(PATIENCE);
            }
            Sqlite::open(database, wall())
        }
        opened => opened,
    }
}

/// Starts the thread that keeps the store tidy.
fn keep(mut keeper: Box<dyn Keeper>) -> Result<Keeping, StartError> {
    let (asked, asks) = crossbeam_channel::bounded(1);
    let thread = spawn("keeper".into(), move || {
        for () in asks {
            if let Err(error) = keeper.tidy() {
                log::warn!("the store could not be tidied, which is tried again: {error}");
            }
        }
    })?;
    Ok(Keeping { asked, thread })
}

/// Reads the whole store once, beside the running router.
fn check(database: &Path, mouth: &Mouth) {
    match Sqlite::full_check(database) {
        Ok(faults) if faults.is_empty() => log::info!("the store was checked after the unclean stop: whole"),
        Ok(faults) => {
            mouth.say(Event::Damaged(faults.join("; ")));
        }
        Err(error) => log::warn!("the store could not be checked: {error}"),
    }
}

/// What strangers may cost.
fn limits(settings: &Settings) -> Limits {
    let mut limits = Limits {
        head_time: settings.web.head_timeout,
        whole_time: settings.web.request_timeout,
        connections: settings.web.connections,
        per_address: settings.web.connections_per_address,
        ..Limits::default()
    };
    limits.sizes.body_bytes = settings.web.body_limit;
    limits
}

/// The command line of this machine's own user is not bound by what `[web]` allows strangers: whatever text the store takes fits, though JSON
/// may need six octets for one.
fn control_limits() -> Limits {
    let mut limits = Limits::default();
    limits.sizes.body_bytes = 6 * TEXT_LIMIT + 16 * 1024;
    limits
}

fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    let failed = |error: io::Error| StartError::System(format!("no thread can be had: {error}"));
    Builder::new().name(name).spawn(run).map_err(failed)
}

/// What the wall clock says.
pub(crate) fn wall() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp::default() + since,
        Err(before) => Timestamp::default() - before.duration(),
    }
}

/// A number that another machine's router does not have.
pub(crate) fn seed() -> u64 {
    let mut octets = [0; 8];
    match getrandom::fill(&mut octets) {
        Ok(()) => u64::from_le_bytes(octets),
        // Ids stay unique within this store without it.
        Err(_) => wall().0 as u64 ^ u64::from(std::process::id()) << 40,
    }
}

/// Starts the daemon and runs it until a signal ends it: what `rapidsms run_router` does once its settings are read.
/// `told` is called when messages are accepted; a second signal waits for `journal` to say its last words. Returns how it ended.
pub fn run(
    settings: Settings,
    registry: Registry,
    file: &Path,
    journal: &Journal,
    told: impl FnOnce(&Daemon),
) -> Result<Ending, StartError> {
    // Signals are caught before anything is open, so that none ends the process in between.
    let signals = signals::catch().map_err(|error| StartError::System(error.to_string()))?;
    let daemon = Daemon::start(settings.clone(), registry.clone())?;
    told(&daemon);
    let stop = signals.handle();
    let mouth = daemon.mouth.clone();
    let thread = {
        let (file, journal) = (file.to_path_buf(), journal.clone());
        let serve = move || signals::serve(signals, &mouth, &registry, &settings, &file, &journal);
        spawn("signals".into(), serve)?
    };
    let ending = daemon.wait();
    stop.close();
    let _ = thread.join();
    Ok(ending)
}
