//! What may be typed: the commands with their options, help and examples. What is meant by them is each command's own file.

use crate::message::{Direction, State};
use crate::pdu::Language;
use crate::simulator::PortKind;
use crate::simulator::personality::{self, PERSONALITIES, Personality};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// How a listing is limited when nobody says.
const USUAL_LIMIT: &str = "50";
/// So many messages are listed at most; more is a job for the API's pages.
const LONGEST_LIST: i64 = 1_000_000;

const OVERVIEW: &str = "\
Exit codes:
  0 ok   1 failed   2 wrong usage   3 wrong settings   4 not running   5 store cannot be used

Standard output is data, standard error is talk. Without --settings the settings file is
$RAPIDSMS_SETTINGS, else ./settings.toml, else /etc/rapidsms/settings.toml.";

const SIMULATE_MODEM: &str = "\
Prints a line for each modem when it is ready, and what the modems send. Orders are read from the
terminal (or whatever standard input is), from --script and from --control:

  zain < +254700000001 hello     an SMS into the modem zain
  zain unplug 2s                 gone for two seconds; then back on another port
  zain error cms 500 x3          the next three messages are refused
  wait 100ms                     the orders behind this one wait
  help                           all orders; docs/simulator.md explains them

Personalities: generic, huawei-e173, huawei-e3531, zte-mf190, simcom-sim800, simcom-sim7600,
quectel-ec25, wavecom, cinterion-mc75i, siemens-tc35.

A message that one simulated modem sends to the number of another arrives there. SIGTERM, Ctrl-C,
quit and, on a terminal, Ctrl-D end it.

Examples:
  rapidsms simulate modem --link /tmp/zain
  rapidsms simulate modem --link /tmp/zain --link /tmp/mtn --ledger ledger.jsonl
  rapidsms simulate modem --link /tmp/e173 --personality huawei-e173 --latency 20 --send-time 3000
  echo 'zain < +254700000001 hello' | rapidsms simulate modem --link /tmp/zain";

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "rapidsms",
    version,
    about = "A message router: text messages in, an app answers, the reply leaves by the line it came in on",
    after_help = OVERVIEW,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(super) struct Arguments {
    /// The settings file
    #[arg(long, value_name = "FILE", global = true)]
    pub settings: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run the router in the foreground until SIGTERM or Ctrl-C
    #[command(
        name = "run_router",
        visible_alias = "run",
        after_help = "\
SIGTERM and Ctrl-C stop it cleanly, a second one at once. SIGHUP reads the settings again: wholly,
or not at all when there is a fault. RUST_LOG (error, warn, info, debug, trace) sets how much it says.

Examples:
  rapidsms run_router
  rapidsms run_router --settings /etc/rapidsms/settings.toml"
    )]
    RunRouter,

    /// Check settings, apps, addresses and store, and report every fault at once; changes nothing
    #[command(after_help = "\
Faults are printed as FILE:LINE:COLUMN with advice. Exit code 3 means wrong settings, 5 a store
that cannot be used, 1 anything else that would keep the router from starting.

Examples:
  rapidsms check
  rapidsms check --ledger           also count every message again; slow on a large store
  rapidsms check --names            the names that ENGINE and INSTALLED_APPS understand
  rapidsms check --json | jq .faults")]
    Check(Check),

    /// Queue one message to be sent, and print its id
    #[command(after_help = "\
A running router takes it at once; otherwise it is stored, and sent when the router runs. The id is
printed once the message is on disk. A text of - is read from standard input.

Examples:
  rapidsms send message_tester 1112223333 'The clinic opens at 8'
  echo 'from a pipe' | rapidsms send Zain +15550100001 -
  rapidsms send --key reminder-17 Zain +15550100001 'Come tomorrow'     never queued twice
  rapidsms send --dry-run Gateway +15550100001 'Hello'                  what would go out
  rapidsms send Zain +15550100001 -- '--text that begins with a dash'")]
    Send(Send),

    /// List messages, newest first, or show one with its history
    #[command(after_help = "\
Reads the store, whether the router runs or not. An id may be shortened while it is unambiguous.
On a terminal a text is cut to fit; control characters are shown as \\n, \\u{202e} and the like.

Examples:
  rapidsms messages
  rapidsms messages --identity 1112223333 --limit 10
  rapidsms messages --direction out --state held --json
  rapidsms messages 019a1b2c-3d4e-7001")]
    Messages(Messages),

    /// Let held messages go
    #[command(after_help = "\
Examples:
  rapidsms release 019a1b2c-3d4e-7001
  rapidsms messages --state held --json | jq -r '.[].id' | xargs -r rapidsms release")]
    Release(Decide),

    /// Keep waiting messages from being sent until they are released
    #[command(after_help = "Examples:\n  rapidsms hold 019a1b2c-3d4e-7001")]
    Hold(Decide),

    /// Give waiting or held messages up; they are never sent
    #[command(after_help = "Examples:\n  rapidsms cancel 019a1b2c-3d4e-7001")]
    Cancel(Decide),

    /// Show the state of each backend
    #[command(after_help = "\
With the router stopped the backends of the settings are listed as \"not running\".

Examples:
  rapidsms backends
  rapidsms backends --json | jq -r '.[] | select(.state != \"up\") | .name'")]
    Backends(Output),

    /// Say whether all is well, with reasons and figures
    #[command(after_help = "\
Exit codes: 0 healthy, 1 something needs attention, 4 not running, 5 the store cannot be read.

Examples:
  rapidsms status
  rapidsms status --json | jq .counts")]
    Status(Output),

    /// Run conversation scripts against the apps of the settings, in memory
    #[command(after_help = "\
A script is text; lines with > are sent, lines with < are expected:

  # comment
  1112223333 > echo hello
  1112223333 < hello

backend/identity names a configured backend, ` @YYYYMMDDhhmm` before the > sets the clock (UTC), \\n is
a newline. A reply that no line expected fails the script. No router, store or network is touched.

Examples:
  rapidsms test tests/*.txt
  printf '1 > ping\\n1 < pong\\n' | rapidsms test -")]
    Test(Test),

    /// List the apps, or ask one what it would answer
    #[command(after_help = "\
Examples:
  rapidsms apps
  rapidsms apps try echo 'echo hello'
  rapidsms apps try all 'join Ada'          all installed apps together, in order")]
    Apps(Apps),

    /// Read and write SMS PDUs, the hexadecimal octets that GSM modems speak
    #[command(after_help = "\
Examples:
  rapidsms pdu decode 07911326040000F0040B911346610089F60000208062917314080CC8F71D14969741F977FD07
  rapidsms pdu encode --to +15550100001 'Hello'")]
    Pdu(Pdu),

    /// Ask the mobile network something by a USSD code, such as the balance of a prepaid SIM
    #[command(after_help = "\
Examples:
  rapidsms ussd Zain '*144#'
  rapidsms ussd Zain '*144#' --json")]
    Ussd(Ussd),

    /// Find modems, say how they are, and print the settings for them
    #[command(after_help = "\
Asks only devices that are known to be modems and that nobody has open. It changes nothing in a
modem, tries no PIN and touches no message. --probe also asks adapters and devices that nobody
knows: whatever is behind them gets to see AT commands. Modems that the running router uses are
described by the router. Run it as root to see which program has a port open.

Examples:
  rapidsms modems
  rapidsms modems --probe
  rapidsms modems /dev/ttyUSB0
  rapidsms modems --write Zain              adds the one new modem to the settings file
  rapidsms modems --udev | sudo tee /etc/udev/rules.d/78-rapidsms-own.rules
  rapidsms modems --json | jq -r '.[].modem.imei'")]
    Modems(Modems),

    /// Simulate devices, for demonstrations and tests without hardware
    #[command(after_help = "\
Examples:
  rapidsms simulate modem --help
  rapidsms simulate modem --link /tmp/zain")]
    Simulate(Simulate),

    /// Print the version
    #[command(after_help = "Examples:\n  rapidsms version\n  rapidsms version --verbose")]
    Version(Version),

    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  rapidsms completions bash > /usr/share/bash-completion/completions/rapidsms
  rapidsms completions fish > ~/.config/fish/completions/rapidsms.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Print the manual page, or write those of all commands
    #[command(after_help = "\
Examples:
  rapidsms man | man -l -
  rapidsms man send | man -l -
  rapidsms man --folder /usr/share/man/man1")]
    Man(Man),
}

/// How to print.
#[derive(Args)]
pub(super) struct Output {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub(super) struct Check {
    /// Count every message again and compare with the books
    #[arg(long)]
    pub ledger: bool,
    /// Print the names that ENGINE and INSTALLED_APPS understand, and nothing else
    #[arg(long, conflicts_with = "ledger")]
    pub names: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Send {
    /// The backend to send by
    pub backend: String,
    /// To whom: a number or an address on that backend
    #[arg(allow_negative_numbers = true)]
    pub identity: String,
    /// What to send; - reads standard input
    pub text: String,
    /// The same key with the same message queues it once only, within 72 hours
    #[arg(long)]
    pub key: Option<String>,
    /// Show it at once and do not store it on the phone, where the engine can do that
    #[arg(long)]
    pub flash: bool,
    /// Ask the network to report whether it arrived (or not to), whatever the backend's setting
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub report: Option<bool>,
    /// How many seconds it is worth sending
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=38_102_400))]
    pub validity: Option<u64>,
    /// Queue nothing: show the exact request that would go out, with secrets masked
    #[arg(long, conflicts_with = "key")]
    pub dry_run: bool,
    /// With --dry-run: a file with an answer of the gateway (- for standard input), to see what it would mean
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub answer: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Messages {
    /// Show this message with its history
    #[arg(conflicts_with_all = ["backend", "identity", "direction", "state", "limit", "after", "order", "ids"])]
    pub id: Option<String>,
    /// Only those of this backend
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// Only those from or to this identity
    #[arg(long, allow_hyphen_values = true)]
    pub identity: Option<String>,
    /// Only incoming or outgoing ones
    #[arg(long, value_parser = directions())]
    pub direction: Option<Direction>,
    /// Only those in this state
    #[arg(long, value_parser = states())]
    pub state: Option<State>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = USUAL_LIMIT, value_parser = clap::value_parser!(u32).range(1..=LONGEST_LIST))]
    pub limit: u32,
    /// Go on after this message, in the direction of reading
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// desc: newest first; asc: oldest first
    #[arg(long, default_value = "desc", value_parser = ["desc", "asc"])]
    pub order: String,
    /// Show ids even where there is little room
    #[arg(long)]
    pub ids: bool,
    /// Show times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Decide {
    /// The messages; an id may be shortened as long as it is unambiguous
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Test {
    /// The scripts; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Apps {
    #[command(subcommand)]
    pub what: Option<AppsCommand>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Subcommand)]
pub(super) enum AppsCommand {
    /// List the installed apps in the order in which they see a message
    #[command(after_help = "Examples:\n  rapidsms apps list --json")]
    List(Output),
    /// Print what an app would answer; nothing is stored or sent
    #[command(after_help = "\
Examples:
  rapidsms apps try echo 'echo hello'
  rapidsms apps try all 'join Ada' --identity +15550100001")]
    Try(Try),
}

#[derive(Args)]
pub(super) struct Try {
    /// An installed app, or all
    pub name: String,
    /// What somebody sends; - reads standard input
    pub text: String,
    /// Who sends it
    #[arg(long, default_value = "1112223333")]
    pub identity: String,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Pdu {
    #[command(subcommand)]
    pub what: PduCommand,
}

#[derive(Subcommand)]
pub(super) enum PduCommand {
    /// Show what is in PDUs, as one JSON object each
    #[command(after_help = "\
One PDU per argument, or per line of standard input; blanks between octets do not matter. What
cannot be decoded becomes an object with an error, and makes the exit code 1. Without --direction
a PDU is taken for a deliver, a submit or a status report, not for a report on one of these.

Examples:
  rapidsms pdu decode 07911326040000F0040B911346610089F60000208062917314080CC8F71D14969741F977FD07
  rapidsms pdu decode --smsc no 01000B915155100000F1000005C8329BFD06 | jq -r .destination
  rapidsms pdu encode --to +15550100001 'Hello' | rapidsms pdu decode")]
    Decode(PduDecode),
    /// Print the SUBMIT PDUs that would send a text
    #[command(after_help = "\
One PDU per line, as AT+CMGS takes it: the service center first (00 for the one on the SIM). How
many parts there are, and why, is told on standard error, or by --json.

Examples:
  rapidsms pdu encode --to +15550100001 'Hello'
  rapidsms pdu encode --to +15550100001 'Günaydın' --language turkish --json
  rapidsms pdu encode --to 1234 --class 0 --report -- '- shown at once'")]
    Encode(PduEncode),
}

#[derive(Args)]
pub(super) struct PduDecode {
    /// The PDUs; lines of standard input when left out
    #[arg(value_name = "HEX")]
    pub pdus: Vec<String>,
    /// mt: from the network to a mobile; mo: from a mobile to the network
    #[arg(long, value_parser = ["mo", "mt"])]
    pub direction: Option<String>,
    /// Whether a service center stands before the message; found out when left out
    #[arg(long, value_parser = ["yes", "no"])]
    pub smsc: Option<String>,
    /// One JSON object per line, also on a terminal
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub(super) struct PduEncode {
    /// To whom: a number
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub to: String,
    /// The text; - reads standard input
    pub text: String,
    /// The service center; that of the SIM when left out
    #[arg(long, value_name = "NUMBER")]
    pub smsc: Option<String>,
    /// The message class; 0 is shown at once and not kept
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub class: Option<u8>,
    /// Ask for a status report
    #[arg(long)]
    pub report: bool,
    /// How long the network shall try, in hours
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=10584))]
    pub validity: Option<u64>,
    /// What ties the parts of a long text together
    #[arg(long, value_name = "N", default_value = "1")]
    pub reference: u16,
    /// References of 16 bits
    #[arg(long)]
    pub wide_reference: bool,
    /// UCS-2 even where the GSM alphabet would do
    #[arg(long, conflicts_with = "languages")]
    pub ucs2: bool,
    /// A national language whose tables may be used where they save parts; phones must know them
    #[arg(long = "language", value_name = "NAME", value_parser = languages())]
    pub languages: Vec<Language>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Ussd {
    /// The backend whose SIM asks
    pub backend: String,
    /// The code, as it is dialled
    pub code: String,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Modems {
    /// Ask these ports and no others, whatever they are
    #[arg(value_name = "PORT")]
    pub ports: Vec<PathBuf>,
    /// Ask adapters and unknown devices too
    #[arg(long, conflicts_with = "ports")]
    pub probe: bool,
    /// Add the modem to the settings file, as a backend of this name
    #[arg(long, value_name = "NAME")]
    pub write: Option<String>,
    /// Print rules for udev about the modems that the settings use: ModemManager leaves them alone
    #[arg(long, conflicts_with_all = ["write", "json"])]
    pub udev: bool,
    /// The speed of serial lines; USB modems do not mind it
    #[arg(long, value_name = "N", default_value = "115200", value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    pub baud: u32,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Simulate {
    #[command(subcommand)]
    pub what: SimulateCommand,
}

#[derive(Subcommand)]
pub(super) enum SimulateCommand {
    /// GSM modems on pseudo-terminals: a SIM, a network, and misfortunes on request
    #[command(after_help = SIMULATE_MODEM)]
    Modem(SimulateModem),
}

#[derive(Args)]
pub(super) struct SimulateModem {
    /// Make a modem with a link to its port here; its file name is the modem's name. May be repeated
    #[arg(long = "link", value_name = "PATH")]
    pub links: Vec<PathBuf>,
    /// The kind of modem; repeated, one for each link in order, and the last for the rest
    #[arg(long = "personality", value_name = "NAME", value_parser = personalities(), hide_possible_values = true)]
    pub personalities: Vec<&'static Personality>,
    /// The modem's ports, as a list of announces, commands, own and diagnosis; repeated, one list for each link in order.
    /// The second port has the link PATH.1
    #[arg(long = "ports", value_name = "LIST", value_parser = PortKind::list)]
    pub ports: Vec<std::vec::Vec<PortKind>>,
    /// The modem's own number; repeated, one for each link in order
    #[arg(long = "number", value_name = "NUMBER", allow_hyphen_values = true)]
    pub numbers: Vec<String>,
    /// Shut the SIM with this PIN
    #[arg(long, value_name = "NNNN")]
    pub pin: Option<String>,
    /// The service center's number
    #[arg(long, value_name = "NUMBER")]
    pub smsc: Option<String>,
    /// Milliseconds from a command to its answer
    #[arg(long, value_name = "MS")]
    pub latency: Option<u64>,
    /// Milliseconds that the network takes for a message that is sent
    #[arg(long, value_name = "MS")]
    pub send_time: Option<u64>,
    /// Milliseconds until a delivery report
    #[arg(long, value_name = "MS")]
    pub report_time: Option<u64>,
    /// Milliseconds after which the network tries again what the modem did not take
    #[arg(long, value_name = "MS")]
    pub retry_time: Option<u64>,
    /// Append all that happens to this file, one JSON object on each line
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Each command line that a modem gets goes to the ledger, too
    #[arg(long, requires = "ledger")]
    pub commands: bool,
    /// Do the orders in this file
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// Take orders at this Unix socket; each is answered `ok` or `error: ...`
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Version {
    /// Also the target, the SQLite version and the engines
    #[arg(long)]
    pub verbose: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args)]
pub(super) struct Man {
    /// The command; the program itself when left out
    pub command: Option<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub folder: Option<PathBuf>,
}

fn languages() -> impl TypedValueParser<Value = Language> {
    PossibleValuesParser::new(Language::ALL.map(Language::as_str)).try_map(|word| {
        Language::ALL.into_iter().find(|language| language.as_str() == word).ok_or("no language")
    })
}

fn personalities() -> impl TypedValueParser<Value = &'static Personality> {
    PossibleValuesParser::new(PERSONALITIES.iter().map(|personality| personality.name))
        .try_map(|name| personality::named(&name).ok_or("no personality"))
}

fn directions() -> impl TypedValueParser<Value = Direction> {
    PossibleValuesParser::new([Direction::In, Direction::Out].map(Direction::as_str))
        .try_map(|word| word.parse::<Direction>().map_err(|()| "no direction"))
}

fn states() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::as_str))
        .try_map(|word| word.parse::<State>().map_err(|()| "no state"))
}
