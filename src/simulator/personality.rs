//! How the modems of vendors differ, as data. Each entry is a type of modem as its users describe it: what it says by itself, what it
//! refuses although it announces it, and what it forgets to say.

/// A type of modem.
#[derive(Debug)]
pub struct Personality {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is special about it, for the help.
    pub about: &'static str,
    /// The answer to `AT+CGMI`.
    pub manufacturer: &'static str,
    /// The answer to `AT+CGMM`.
    pub model: &'static str,
    /// The answer to `AT+CGMR`.
    pub revision: &'static str,
    /// The number of the first slot.
    pub first_slot: usize,
    /// Memories with their size; the first is in use after a start.
    pub memories: &'static [(&'static str, usize)],
    /// The memory in which new messages are stored cannot be this one.
    pub not_for_receiving: Option<&'static str>,
    /// `AT+CPMS=?` has each list in brackets of its own, within brackets.
    pub nested_memories: bool,
    /// Announced values of the five arguments of `+CNMI`.
    pub cnmi: [&'static [u8]; 5],
    /// Announced and refused: which argument, which value.
    pub cnmi_refused: &'static [(usize, u8)],
    /// `+CMT` is to be had with mode 1 only, whatever is announced.
    pub direct_needs_mode_1: bool,
    /// Whether a stored message is announced by `+CMTI`, whatever was asked.
    pub announces: bool,
    /// The memory that `+CDSI` names; `None`: it has no way to store reports, so they are pushed or thrown away.
    pub reports_memory: Option<&'static str>,
    /// It announces things even while a text is being given to it.
    pub interrupts: bool,
    /// `AT+CNMA=1` and `AT+CNMA=2` are refused, as is a PDU.
    pub bare_acknowledgement: bool,
    /// What asks for a message's text.
    pub prompt: &'static str,
    /// Said by itself from time to time.
    pub noise: &'static [&'static str],
    /// How often, in seconds.
    pub noise_seconds: u64,
    /// The command that ends the noise, as typed.
    pub noise_off: Option<&'static str>,
    /// Said after a start: milliseconds, line.
    pub boot: &'static [(u64, &'static str)],
    /// Said when the memory for new messages is full.
    pub full: &'static [&'static str],
    /// Commands whose answer lacks its `OK`.
    pub without_ok: &'static [&'static str],
    /// Commands that it does not have.
    pub lacks: &'static [&'static str],
    /// What it says to a command that it does not have.
    pub unknown: &'static str,
    /// Its own commands and their answers.
    pub own: &'static [(&'static str, &'static [&'static str])],
    /// The answer to `AT+CMGR` of an empty slot.
    pub empty: Empty,
    /// `AT+CMGL` puts the next header right behind a PDU.
    pub glued_list: bool,
    /// Lines that begin like the first begin like the second instead.
    pub spelling: &'static [(&'static str, &'static str)],
    /// How it writes USSD texts.
    pub ussd: UssdForm,
    /// Every message sent has the reference 0.
    pub no_references: bool,
    /// After `AT+CFUN=1,1` its port is gone for so many milliseconds.
    pub reset_unplugs: Option<u64>,
}

/// What `AT+CMGR` of an empty slot is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Empty {
    /// `+CMS ERROR: 321`
    Error,
    /// `OK` and nothing else.
    Ok,
    /// A record without content.
    Zero,
}

/// How a USSD text is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UssdForm {
    /// As it is.
    Plain,
    /// Packed septets in hexadecimal digits.
    Packed,
    /// UTF-16 in hexadecimal digits.
    Ucs2,
}

const ALL_CNMI: [&[u8]; 5] = [&[0, 1, 2], &[0, 1, 2, 3], &[0, 2], &[0, 1, 2], &[0, 1]];

/// A modem without vices.
pub const GENERIC: Personality = Personality {
    name: "generic",
    about: "keeps to the specifications",
    manufacturer: "RapidSMS",
    model: "SIMULATED",
    revision: "1.0",
    first_slot: 1,
    memories: &[("SM", 20), ("ME", 50)],
    not_for_receiving: None,
    nested_memories: false,
    cnmi: ALL_CNMI,
    cnmi_refused: &[],
    direct_needs_mode_1: false,
    announces: true,
    reports_memory: Some("SM"),
    interrupts: false,
    bare_acknowledgement: false,
    prompt: "\r\n> ",
    noise: &[],
    noise_seconds: 10,
    noise_off: None,
    boot: &[],
    full: &[],
    without_ok: &[],
    lacks: &[],
    unknown: "ERROR",
    own: &[],
    empty: Empty::Error,
    glued_list: false,
    spelling: &[],
    ussd: UssdForm::Plain,
    no_references: false,
    reset_unplugs: None,
};

/// All of them.
pub const PERSONALITIES: &[Personality] = &[
    GENERIC,
    Personality {
        name: "huawei-e173",
        about: "slots from 0, chatter until AT^CURC=0, +CMT only with mode 1, USSD packed in hex",
        manufacturer: "huawei",
        model: "E173",
        revision: "11.126.85.00.209",
        first_slot: 0,
        memories: &[("SM", 20), ("ME", 255)],
        cnmi: [&[0, 1, 2], &[0, 1, 2, 3], &[0, 2, 3], &[0, 1, 2], &[0, 1]],
        direct_needs_mode_1: true,
        bare_acknowledgement: true,
        interrupts: true,
        noise: &[
            "^RSSI:17",
            "^DSFLOWRPT:0000003C,00000000,00000000,0000000000000000,0000000000000000,0003E800,0003E800",
            "^MODE:5,4",
            "^BOOT:27710117,0,0,0,88",
        ],
        noise_off: Some("^CURC=0"),
        boot: &[(50, "^SRVST:2"), (100, "^SIMST:1"), (150, "^RSSI:17")],
        full: &["^SMMEMFULL: \"SM\""],
        unknown: "COMMAND NOT SUPPORT",
        own: &[
            ("^CURC", &[]),
            ("^PORTSEL", &[]),
            ("^SYSINFO", &["^SYSINFO:2,3,0,5,1,,4"]),
            ("^HCSQ", &["^HCSQ:\"WCDMA\",40,35,50"]),
            ("^CVOICE", &["^CVOICE:0"]),
        ],
        ussd: UssdForm::Packed,
        reset_unplugs: Some(2_000),
        ..GENERIC
    },
    Personality {
        name: "huawei-e3531",
        about: "never announces a stored message, mode 2 refused, slots from 0, chatter that nothing ends",
        manufacturer: "huawei",
        model: "E3531",
        revision: "21.318.15.00.00",
        first_slot: 0,
        memories: &[("SM", 20), ("ME", 255)],
        cnmi_refused: &[(0, 2)],
        direct_needs_mode_1: true,
        announces: false,
        bare_acknowledgement: true,
        noise: &["^RSSI:20", "^HCSQ:\"WCDMA\",42,38,52", "^LWURC: 0", "^CSNR:-68,-12"],
        noise_seconds: 5,
        unknown: "COMMAND NOT SUPPORT",
        spelling: &[("+CPIN: READY", "+CPIN: \"READY\"")],
        own: &[("^CURC", &[]), ("^SYSINFO", &["^SYSINFO:2,3,0,5,1"])],
        ussd: UssdForm::Packed,
        reset_unplugs: Some(2_000),
        ..GENERIC
    },
    Personality {
        name: "zte-mf190",
        about: "mode 2 refused, +ZUSIMR chatter, USSD in UCS-2, no free slot is not announced",
        manufacturer: "ZTE INCORPORATED",
        model: "MF190",
        revision: "BD_MF190V1.0.0B05",
        first_slot: 0,
        memories: &[("ME", 100), ("SM", 20)],
        cnmi_refused: &[(0, 2)],
        bare_acknowledgement: true,
        interrupts: true,
        noise: &["+ZUSIMR:2", "+ZPASR: \"UMTS\"", "+ZEND"],
        noise_seconds: 2,
        noise_off: Some("+ZOPRT=5"),
        spelling: &[("+CDS: ", "+CDS: ,")],
        own: &[("+ZOPRT", &[]), ("+ZCDRUN", &[]), ("+ZPAS", &["+ZPAS: \"UMTS\",\"CS_PS\""])],
        ussd: UssdForm::Ucs2,
        ..GENERIC
    },
    Personality {
        name: "simcom-sim800",
        about: "boot lines in pieces, reports are never stored, no LTE commands, bare prompt",
        manufacturer: "SIMCOM_Ltd",
        model: "SIMCOM_SIM800L",
        revision: "Revision:1418B04SIM800L24",
        memories: &[("SM", 30), ("ME", 50)],
        cnmi: [&[0, 1, 2], &[0, 1, 2, 3], &[0, 2, 3], &[0, 1, 2], &[0, 1]],
        cnmi_refused: &[(3, 2)],
        reports_memory: None,
        prompt: "\r\n>",
        boot: &[
            (50, "RDY"),
            (60, "+CFUN: 1"),
            (100, "+CPIN: READY"),
            (300, "Call Ready"),
            (400, "SMS Ready"),
        ],
        lacks: &["+CEREG", "+CESQ"],
        own: &[("+CSMINS", &["+CSMINS: 0,1"]), ("+CSCLK", &[])],
        ..GENERIC
    },
    Personality {
        name: "simcom-sim7600",
        about: "PB DONE and SMS DONE after a start, an empty slot is answered OK, slots from 0",
        manufacturer: "SIMCOM INCORPORATED",
        model: "SIMCOM_SIM7600E-H",
        revision: "LE20B04SIM7600M22",
        first_slot: 0,
        memories: &[("ME", 23), ("SM", 20)],
        boot: &[(50, "RDY"), (100, "+CPIN: READY"), (300, "SMS DONE"), (400, "PB DONE")],
        full: &["+SMS FULL"],
        own: &[(
            "+CPSI",
            &["+CPSI: LTE,Online,639-02,0x1A2B,12345678,100,EUTRAN-BAND3,1300,3,3,-90,-900,-600,15"],
        )],
        empty: Empty::Ok,
        ..GENERIC
    },
    Personality {
        name: "quectel-ec25",
        about: "boot lines as +QIND, says that a memory is full, port gone for a while after a reset",
        manufacturer: "Quectel",
        model: "EC25",
        revision: "EC25EFAR06A06M4G",
        first_slot: 0,
        memories: &[("ME", 23), ("SM", 20)],
        boot: &[
            (50, "RDY"),
            (60, "+CFUN: 1"),
            (100, "+CPIN: READY"),
            (150, "+QUSIM: 1"),
            (300, "+QIND: SMS DONE"),
            (400, "+QIND: PB DONE"),
        ],
        full: &["+QIND: \"smsfull\",\"ME\""],
        own: &[("+QNWINFO", &["+QNWINFO: \"FDD LTE\",\"63902\",\"LTE BAND 3\",1300"])],
        reset_unplugs: Some(3_000),
        ..GENERIC
    },
    Personality {
        name: "wavecom",
        spelling: &[("+CREG: 0,", "+CREG: 000,00")],
        about: "+CPIN without OK, brackets within brackets, +WIND lines, bare prompt",
        manufacturer: "WAVECOM MODEM",
        model: "MULTIBAND  900E  1800",
        revision: "657e09gg.Q2406B 1959128 032807 14:04",
        memories: &[("SM", 20), ("ME", 10)],
        nested_memories: true,
        prompt: "\r\n>",
        boot: &[(50, "+WIND: 1"), (150, "+WIND: 7"), (300, "+WIND: 4")],
        without_ok: &["+CPIN"],
        lacks: &["+CEREG", "+CESQ", "+CCID"],
        own: &[("+WIND", &["+WIND: 0"])],
        ..GENERIC
    },
    Personality {
        name: "cinterion-mc75i",
        about: "only bfr 1, new messages never in ME, ^SYSSTART after a start",
        manufacturer: "Cinterion",
        model: "MC75i",
        revision: "REVISION 01.301",
        memories: &[("SM", 20), ("ME", 25)],
        not_for_receiving: Some("ME"),
        cnmi: [&[0, 1, 2], &[0, 1], &[0, 2], &[0, 2], &[1]],
        boot: &[(50, "^SYSSTART"), (200, "+PBREADY")],
        full: &["^SMGO: 2"],
        lacks: &["+CEREG", "+CESQ"],
        spelling: &[("+CPIN: READY", "+CPIN:READY")],
        own: &[("^SMGO", &["^SMGO: 0,0"]), ("^SM20", &[])],
        ..GENERIC
    },
    Personality {
        name: "siemens-tc35",
        about: "one memory, the list glued together, an empty slot is a record without content, references always 0",
        manufacturer: "SIEMENS",
        model: "TC35",
        revision: "REVISION 04.00",
        memories: &[("SM", 20)],
        cnmi: [&[0, 1, 2], &[0, 1, 2], &[0], &[0, 1], &[1]],
        reports_memory: None,
        boot: &[(50, "^SYSSTART")],
        lacks: &["+CEREG", "+CGREG", "+CESQ", "+CUSD"],
        empty: Empty::Zero,
        glued_list: true,
        no_references: true,
        own: &[("^SM20", &[])],
        ..GENERIC
    },
];

impl Personality {
    /// A line as this modem spells it.
    pub fn spelled(&self, line: &str) -> String {
        let found = self.spelling.iter().find_map(|(usual, own)| Some((own, line.strip_prefix(usual)?)));
        found.map_or_else(|| line.to_string(), |(own, rest)| format!("{own}{rest}"))
    }
}

/// The one of this name.
pub fn named(name: &str) -> Option<&'static Personality> {
    PERSONALITIES.iter().find(|personality| personality.name == name)
}
