//! The keys, engines, apps and old names of this program: data only, in the order of settings.toml.
//!
//! Each line is a promise to people who have such a file; see the contract before removing one.

use std::time::Duration;

use super::catalogue::{EngineSpec, Key, Kind, OldApp};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The longest is what 3GPP TS 23.040 (9.2.3.12) can say: 63 weeks.
const VALIDITY: Kind = Kind::Duration { min: SECOND, max: Duration::from_secs(63 * 7 * 24 * 3600) };
const ON_UNCERTAIN: Kind = Kind::OneOf(&["resend", "hold"]);
const TIMEOUT: Kind = Kind::Duration { min: Duration::from_millis(100), max: HOUR };
const CAP: Kind = Kind::Integer { min: 1, max: 1_000_000_000 };
const SMALL_COUNT: Kind = Kind::Integer { min: 1, max: 1000 };

const LOGS: &str = "the log goes to standard error, where the service manager keeps it";
const HANDLER_CHOICE: &str = "the app \"handlers\" runs the handlers that are registered with it";
const TESTER: &str = "the tester shows an answer as soon as there is one";
const ONE_DAEMON: &str = "pages and router are one program, so nothing is to be connected";
const DJANGO_DATABASE: &str = "the store is named in [database], url";

/// The keys outside of any table.
pub(super) const TOP: &[Key] = &[
    Key::new("PROJECT_NAME", Kind::Text, "what the default response calls the project").or("RapidSMS"),
    Key::new("INSTALLED_APPS", Kind::Any, "the apps, in the order in which they see a message"),
    Key::new("DEFAULT_RESPONSE", Kind::OrOff(&Kind::Text), "the answer when no app had one; false for none")
        .or("Sorry, %(project_name)s could not understand your message."),
    Key::new("LANGUAGE_CODE", Kind::Text, "the language of people who have not chosen one").or("en"),
    Key::new("LANGUAGES", Kind::Pairs, "the languages that people may choose"),
    Key::new(
        "LOG_LEVEL",
        Kind::OneOf(&["trace", "debug", "info", "warn", "warning", "error", "critical", "off"]),
        "how much is logged",
    )
    .or("info"),
    Key::new("STRICT", Kind::Boolean, "refuse to start where secrets are not safe").or("false"),
    Key::new("INSTALLED_BACKENDS", Kind::Any, "the backends"),
    Key::new("GROUPS", Kind::Any, "backends that send from one queue"),
    Key::new("APPS", Kind::Any, "settings of apps, and apps of your own"),
    Key::new("database", Kind::Any, "the store"),
    Key::new("web", Kind::Any, "the web listener"),
    Key::new("router", Kind::Any, "the router's rules"),
    Key::new("kannel_server", Kind::Any, "Kannel's own interface, for programs that expect a Kannel"),
    Key::ignored("RAPIDSMS_TABS", "the pages are fixed: Message Tester, Messages, Backends"),
    Key::ignored("LOG_FILE", LOGS),
    Key::ignored("LOG_FORMAT", LOGS),
    Key::ignored("LOG_SIZE", LOGS),
    Key::ignored("LOG_BACKUPS", LOGS),
    Key::ignored("INSTALLED_HANDLERS", HANDLER_CHOICE),
    Key::ignored("EXCLUDED_HANDLERS", HANDLER_CHOICE),
    Key::ignored("RAPIDSMS_HANDLERS", HANDLER_CHOICE),
    Key::ignored("RAPIDSMS_HANDLERS_EXCLUDE_APPS", HANDLER_CHOICE),
    Key::ignored("MESSAGE_TESTER_TIMEOUT", TESTER),
    Key::ignored("MESSAGE_TESTER_INTERVAL", TESTER),
    Key::ignored("AJAX_PROXY_HOST", ONE_DAEMON),
    Key::ignored("AJAX_PROXY_PORT", ONE_DAEMON),
    Key::ignored("RAPIDSMS_ROUTER", "there is one router"),
    Key::ignored("DB_ROUTER_DEFAULT_BATCH_SIZE", "the router takes what is waiting in one go"),
    Key::ignored("TEST_EXCLUDED_APPS", "name the apps of a test in the test"),
    Key::ignored("DATABASES", DJANGO_DATABASE),
    Key::ignored("DATABASE_ENGINE", DJANGO_DATABASE),
    Key::ignored("DATABASE_NAME", DJANGO_DATABASE),
    Key::ignored("DATABASE_USER", DJANGO_DATABASE),
    Key::ignored("DATABASE_PASSWORD", DJANGO_DATABASE),
    Key::ignored("DATABASE_HOST", DJANGO_DATABASE),
    Key::ignored("DATABASE_PORT", DJANGO_DATABASE),
    Key::ignored("MAP_DEFAULT_LATITUDE", "there is no map"),
    Key::ignored("MAP_DEFAULT_LONGITUDE", "there is no map"),
];

/// `[database]`.
pub(super) const DATABASE: &[Key] = &[
    Key::new("url", Kind::Text, "the store's file").or("sqlite:rapidsms.db").also(&["file", "path", "name"]),
    Key::new(
        "purge_after",
        Kind::OrOff(&Kind::Duration { min: DAY, max: Duration::from_secs(100 * 366 * 24 * 3600) }),
        "delete messages that were finished so long ago; false keeps all",
    )
    .or("false"),
];

/// `[web]`.
pub(super) const WEB: &[Key] = &[
    Key::new("enabled", Kind::Boolean, "false for no listener at all").or("true"),
    Key::new("listen", Kind::Any, "address and port, or several")
        .or("127.0.0.1:8000")
        .also(&["address", "host", "bind", "port"]),
    Key::new("token", Kind::Secret, "what programs and people must show; needed beyond loopback"),
    Key::new("hosts", Kind::TextList, "names under which the listener may be called, besides its addresses"),
    Key::new("body_limit", Kind::Size { min: 1024, max: 64 * 1024 * 1024 }, "the longest request body")
        .or("64 KiB"),
    Key::new("head_timeout", TIMEOUT, "how long a request's head may take").or("10 s"),
    Key::new("request_timeout", TIMEOUT, "how long a whole request may take").or("30 s"),
    Key::new("connections", Kind::Integer { min: 8, max: 65536 }, "connections in all").or("1024"),
    Key::new(
        "connections_per_address",
        Kind::Integer { min: 1, max: 65536 },
        "connections from one address; loopback is not limited",
    )
    .or("256"),
];

/// `[router]`.
pub(super) const ROUTER: &[Key] = &[
    Key::new("validity", VALIDITY, "how long an outgoing message is tried").or("48h"),
    Key::new("on_uncertain", ON_UNCERTAIN, "what to do with a message that may or may not have gone out")
        .or("resend"),
    Key::new("app_timeout", TIMEOUT, "how long an app may take that answers later").or("10 s"),
    Key::new(
        "max_pending",
        Kind::Integer { min: 1, max: 50_000 },
        "messages of one backend that wait for such apps",
    )
    .or("1000"),
    Key::new(
        "join_within",
        Kind::Duration { min: Duration::from_secs(60), max: Duration::from_secs(31 * 24 * 3600) },
        "how long a longer message waits for its missing parts",
    )
    .or("24h"),
    Key::new("loop_repeats", SMALL_COUNT, "the same text this often is a loop").or("3"),
    Key::new("loop_repeats_within", Kind::Duration { min: SECOND, max: DAY }, "counted over this time")
        .or("60 s"),
    Key::new(
        "loop_replies",
        Kind::Integer { min: 1, max: 100_000 },
        "this many replies to one connection are a loop",
    )
    .or("30"),
    Key::new("loop_replies_within", Kind::Duration { min: SECOND, max: DAY }, "counted over this time")
        .or("5 min"),
];

/// What every `[INSTALLED_BACKENDS.name]` may say besides its engine's own keys.
pub(super) const BACKEND: &[Key] = &[
    Key::new("ENGINE", Kind::Text, "the kind of line")
        .required()
        .such_as("bucket")
        .also(&["backend", "type"]),
    Key::new("HANDLER", Kind::Text, "how incoming messages are handled: \"queue\""),
    Key::new("window", SMALL_COUNT, "messages that are being sent at one time"),
    Key::new("validity", VALIDITY, "as in [router], for this backend"),
    Key::new("on_uncertain", ON_UNCERTAIN, "as in [router], for this backend"),
    Key::new("daily_cap", CAP, "messages that may be sent in a day"),
    Key::new("monthly_cap", CAP, "messages that may be sent in a month"),
    Key::new(
        "caps_reset",
        Kind::Text,
        "when a day begins, with the offset from UTC; midnight UTC when not given",
    )
    .such_as("06:00+02:00"),
    Key::new(
        "caps_day",
        Kind::Integer { min: 1, max: 28 },
        "the day on which a month begins; 1 when not given",
    ),
    Key::new("rate", Kind::Integer { min: 1, max: 60_000 }, "messages that may be sent in a minute"),
    Key::new(
        "gap",
        Kind::Duration { min: Duration::from_millis(1), max: HOUR },
        "the least time from one message to the next",
    )
    .such_as("2 s"),
    Key::new("allow_test_traffic", Kind::Boolean, "may a tester's message leave by this backend?")
        .or("false"),
    Key::new("loop_guard", Kind::Boolean, "stop two machines that answer each other; on but for testers"),
    Key::new(
        "watchdog",
        Kind::Duration { min: SECOND, max: HOUR },
        "a backend that is stuck so long is replaced",
    )
    .or("60 s"),
    Key::ignored("router.celery.eager", "every message is handled in order by the router"),
];

/// `[GROUPS.name]`.
pub(super) const GROUP: &[Key] = &[
    Key::new("MEMBERS", Kind::TextList, "the backends").required(),
    Key::new(
        "PREFIXES",
        Kind::Any,
        "which numbers a member sends to, the longest first; others are anybody's",
    ),
    Key::new("BALANCE", Kind::OneOf(&["in turn", "least busy", "first"]), "who of them is next")
        .or("in turn"),
    Key::new("REPLIES", Kind::Boolean, "may a reply leave by another member than its question came in by?")
        .or("false"),
];

/// `[kannel_server]`.
pub(super) const KANNEL_SERVER: &[Key] = &[
    Key::new("enabled", Kind::Boolean, "false switches it off").or("true"),
    Key::new("listen", Kind::Any, "address and port of a listener that serves nothing else").also(&[
        "address",
        "host",
        "bind",
        "port",
        "sendsms_port",
    ]),
    Key::new("backend", Kind::Text, "the backend or group of requests that name none").such_as("Zain"),
    Key::new("smscs", Kind::Table, "Kannel's names of lines, and the backend or group that each means"),
    Key::new("sender", Kind::Text, "the sender of requests that name none")
        .such_as("1234")
        .also(&["global_sender", "default_sender"]),
    Key::new("status_password", Kind::Secret, "what must be shown for the status")
        .also(&["admin_password", "password"]),
    Key::new("users", Kind::Any, "who may send"),
];

/// `[kannel_server.users.NAME]`.
pub(super) const KANNEL_USER: &[Key] = &[
    Key::new("password", Kind::Secret, "what this user must show").required().also(&["pass"]),
    Key::new("backend", Kind::Text, "the backend or group of requests that name none").such_as("Zain"),
    Key::new("allow", Kind::TextList, "the addresses from which this user may ask; any when left out")
        .also(&["user_allow_ip", "allow_ip"]),
    Key::new("max_messages", Kind::Integer { min: 1, max: 255 }, "a text of more parts is refused").or("10"),
    Key::new("sender", Kind::Text, "the sender of this user's requests that name none")
        .such_as("1234")
        .also(&["default_sender", "faked_sender"]),
];

/// Engines that are recognised and not in this build.
pub(super) const ENGINES: &[EngineSpec] = &[];

/// What every `[APPS.name]` with an ENGINE may say besides its host's own keys.
pub(super) const HOSTED_APP: &[Key] = &[
    Key::new("ENGINE", Kind::Text, "what runs the app: kannel_service, python, process, webhook or replies")
        .required(),
    Key::new("timeout", TIMEOUT, "how long an answer may take; as [router], app_timeout"),
];

/// The hosts of apps in other languages.
pub(super) const HOSTS: &[EngineSpec] = &[
    EngineSpec {
        name: "python",
        aliases: &[],
        keys: &[Key::new("app", Kind::Path, "the Python file").required()],
        built: false,
        tester: false,
        about: "an app in Python",
    },
    EngineSpec {
        name: "process",
        aliases: &[],
        keys: &[Key::new("command", Kind::TextList, "the program and its arguments").required()],
        built: false,
        tester: false,
        about: "an app in any language: lines of JSON in and out",
    },
    EngineSpec {
        name: "webhook",
        aliases: &[],
        keys: &[
            Key::new("url", Kind::Url, "where messages are posted").required(),
            Key::new("token", Kind::Secret, "shown to that address as a bearer token"),
        ],
        built: false,
        tester: false,
        about: "an app behind an HTTP address",
    },
    EngineSpec {
        name: "replies",
        aliases: &[],
        keys: &[Key::new("file", Kind::Path, "the table of questions and answers").required()],
        built: false,
        tester: false,
        about: "fixed answers from a table",
    },
];

const BUILT_IN: &str = "it is part of this program";
const DJANGO: &str = "it belongs to Django, which this program does without";
const NO_PAGE: &str = "its pages are not in this build";

const fn not_needed(name: &'static str, why: &'static str) -> OldApp {
    OldApp { name, why, missed: false }
}

const fn missed(name: &'static str, why: &'static str) -> OldApp {
    OldApp { name, why, missed: true }
}

/// What an older `INSTALLED_APPS` may hold besides apps. All in small letters.
pub(super) const OLD_APPS: &[OldApp] = &[
    not_needed("rapidsms", BUILT_IN),
    not_needed("rapidsms.backends.*", "a backend is named in INSTALLED_BACKENDS only"),
    not_needed("rapidsms.router.*", BUILT_IN),
    not_needed("rapidsms.contrib.httptester", BUILT_IN),
    not_needed("rapidsms.contrib.messagelog", "every message is kept, with its history"),
    not_needed("rapidsms.contrib.messaging", "messages are sent by the API and by rapidsms send"),
    not_needed("rapidsms.contrib.ajax", "pages and router are one program"),
    missed("rapidsms.contrib.scheduler", "timed calls are not in this build"),
    missed("rapidsms.contrib.export", NO_PAGE),
    missed("rapidsms.contrib.locations", NO_PAGE),
    missed("rapidsms.contrib.locations.*", NO_PAGE),
    missed("rapidsms.contrib.training", "holding replies for a person is not in this build"),
    not_needed("httptester", BUILT_IN),
    not_needed("messagelog", "every message is kept, with its history"),
    not_needed("messaging", "messages are sent by the API and by rapidsms send"),
    not_needed("ajax", "pages and router are one program"),
    not_needed("threadless_router", BUILT_IN),
    not_needed("threadless_router.*", BUILT_IN),
    not_needed("django.*", DJANGO),
    not_needed("djcelery", "the router has its own durable queue"),
    not_needed("celery", "the router has its own durable queue"),
    not_needed("kombu.*", "the router has its own durable queue"),
    not_needed("djkombu", "the router has its own durable queue"),
    not_needed("djtables", DJANGO),
    not_needed("django_tables2", DJANGO),
    not_needed("django_nose", DJANGO),
    not_needed("django_extensions", DJANGO),
    not_needed("djappsettings", DJANGO),
    not_needed("debug_toolbar", DJANGO),
    not_needed("compressor", DJANGO),
    not_needed("crispy_forms", DJANGO),
    not_needed("uni_form", DJANGO),
    not_needed("pagination", DJANGO),
    not_needed("selectable", DJANGO),
    not_needed("sekizai", DJANGO),
    not_needed("south", "the store brings its own schema up to date"),
];
