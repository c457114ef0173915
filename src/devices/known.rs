//! The table of modems: vendor and product numbers, and which interface of a stick is for what.
//!
//! A stick shows two to five ports. One is for dialling, one for commands beside it, others are for diagnosis or positions. Often only the
//! second one says what comes unasked, such as "a message has arrived". The table only makes probing quick and polite: which port
//! serves is decided by asking. It holds facts that vendors publish in their drivers and manuals.

/// What a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A modem: it may be asked.
    Modem,
    /// An adapter from USB to a serial line: anything may be behind it.
    Adapter,
    /// Something that is known to be no modem (a radio stick for lamps, a receiver for positions, a development board that restarts when it is
    /// opened): never to be asked.
    Other,
    /// The machine's own console: never to be asked.
    Console,
    /// Nobody knows: a serial port of the board, a USB device that is not in the table.
    Unknown,
}

/// What a port is for. The order is the order of asking.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Takes commands and says what comes unasked: the one to use.
    Main,
    /// Takes commands; on some models it says nothing unasked.
    Commands,
    /// Unknown.
    Unknown,
    /// Diagnosis, positions, sound: mute, or it talks in octets that are no text. Never to be asked.
    Silent,
}

/// One row: a product, or all products of a vendor that have no row of their own.
#[derive(Debug)]
pub struct Known {
    /// The vendor's number.
    pub vendor: u16,
    /// The product's number; `None` for the vendor's row.
    pub product: Option<u16>,
    /// What it is called.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What its interfaces are for, as far as that is known.
    pub interfaces: &'static [(u8, Role)],
}

/// What is known about a device, its own row before its vendor's.
pub fn known(vendor: u16, product: u16) -> Option<&'static Known> {
    let own = TABLE.iter().find(|row| row.vendor == vendor && row.product == Some(product));
    own.or_else(|| TABLE.iter().find(|row| row.vendor == vendor && row.product.is_none()))
}

/// What a port is for, by the table, else by its USB class.
///
/// `class` is the interface's class, subclass and protocol.
pub fn role(row: Option<&Known>, interface: Option<u8>, class: Option<(u8, u8, u8)>) -> Role {
    let listed = row.and_then(|row| {
        let interface = interface?;
        row.interfaces.iter().find(|(number, _)| *number == interface).map(|(_, role)| *role)
    });
    if let Some(role) = listed {
        return role;
    }
    match (row.map(|row| row.vendor), class) {
        // Huawei numbers its interfaces anew for each model, but says in the protocol what they are for.
        (Some(HUAWEI), Some((0xff, 0x01..=0x06, protocol))) => match protocol {
            0x02 | 0x12 | 0x32 | 0x62 => Role::Main,
            0x01 | 0x10 | 0x31 | 0x61 => Role::Commands,
            0x03 | 0x13 | 0x33 | 0x63 | 0x05 | 0x14 => Role::Silent,
            _ => Role::Unknown,
        },
        // Communications device, abstract control, commands of V.250 (USB CDC PSTN 1.2, table 5).
        (_, Some((0x02, 0x02, 0x01))) => Role::Commands,
        _ => Role::Unknown,
    }
}

const HUAWEI: u16 = 0x12d1;

use Kind::{Adapter, Modem, Other};
use Role::{Commands, Main, Silent};

const fn modem(vendor: u16, product: u16, name: &'static str, interfaces: &'static [(u8, Role)]) -> Known {
    Known { vendor, product: Some(product), name, kind: Modem, interfaces }
}

const fn vendor(vendor: u16, name: &'static str) -> Known {
    Known { vendor, product: None, name, kind: Modem, interfaces: &[] }
}

const fn adapter(vendor: u16, product: Option<u16>, name: &'static str) -> Known {
    Known { vendor, product, name, kind: Adapter, interfaces: &[] }
}

const fn other(vendor: u16, product: Option<u16>, name: &'static str) -> Known {
    Known { vendor, product, name, kind: Other, interfaces: &[] }
}

/// Diagnosis, positions, commands, dialling: how Qualcomm's chips come, in the modules of many makers.
const QUALCOMM: &[(u8, Role)] = &[(0, Silent), (1, Silent), (2, Main), (3, Commands)];

/// Every row. A vendor's row holds for its products without one.
#[rustfmt::skip]
pub const TABLE: &[Known] = &[
    modem(HUAWEI, 0x1001, "Huawei E1550, E169, E220 or alike", &[(0, Commands), (1, Silent), (2, Main)]),
    modem(HUAWEI, 0x1003, "Huawei E220 or alike", &[(0, Commands), (1, Main)]),
    modem(HUAWEI, 0x140c, "Huawei E17xx", &[(0, Commands), (2, Silent), (3, Main)]),
    modem(HUAWEI, 0x1436, "Huawei E173 or E1750", &[(0, Commands), (3, Silent), (4, Main)]),
    modem(HUAWEI, 0x14ac, "Huawei E153 or E1820", &[(0, Commands), (3, Silent), (4, Main)]),
    modem(HUAWEI, 0x1465, "Huawei K3520 or K3765", &[(0, Commands), (1, Silent), (2, Main)]),
    modem(HUAWEI, 0x1506, "Huawei E3531, E3372 or alike", &[]),
    modem(HUAWEI, 0x1573, "Huawei MU609", &[]),
    vendor(HUAWEI, "Huawei modem"),
    modem(0x19d2, 0x0001, "ZTE MF626 or MF636", &[(0, Main), (1, Silent), (2, Commands)]),
    modem(0x19d2, 0x0015, "ZTE modem", &[(1, Main), (3, Commands)]),
    modem(0x19d2, 0x0016, "ZTE MF110 or alike", &[(0, Silent), (1, Commands), (2, Main)]),
    modem(0x19d2, 0x0017, "ZTE MF631 or alike", &[(0, Silent), (1, Commands), (2, Main)]),
    modem(0x19d2, 0x0031, "ZTE MF110, MF112, MF190 or MF636", &[(0, Silent), (1, Commands), (3, Main)]),
    modem(0x19d2, 0x0064, "ZTE MF627 or alike", &[(0, Commands), (1, Silent), (2, Main)]),
    modem(0x19d2, 0x0117, "ZTE MF667 or alike", &[(0, Silent), (1, Commands), (2, Main)]),
    modem(0x19d2, 0x1515, "ZTE modem", &[(0, Main), (2, Commands)]),
    modem(0x19d2, 0x2002, "ZTE K3765-Z", &[(0, Silent), (1, Commands), (3, Main)]),
    modem(0x19d2, 0x2003, "ZTE modem", &[(1, Commands), (3, Main)]),
    vendor(0x19d2, "ZTE modem"),
    modem(0x1e0e, 0x9001, "SIMCom SIM7000, SIM7100 or SIM7600", &[(0, Silent), (1, Silent), (2, Main), (3, Commands), (4, Silent)]),
    modem(0x1e0e, 0x9011, "SIMCom SIM7600 or A76xx", &[]),
    modem(0x1e0e, 0x9205, "SIMCom SIM7070, SIM7080 or SIM7090", &[(0, Silent), (1, Silent), (2, Main), (3, Commands)]),
    modem(0x1e0e, 0x9206, "SIMCom SIM7070, SIM7080 or SIM7090", &[(0, Silent), (1, Silent), (2, Main), (5, Commands)]),
    vendor(0x1e0e, "SIMCom modem"),
    modem(0x2c7c, 0x0121, "Quectel EC21", QUALCOMM),
    modem(0x2c7c, 0x0125, "Quectel EC25 or EG25", QUALCOMM),
    modem(0x2c7c, 0x0191, "Quectel EG91", QUALCOMM),
    modem(0x2c7c, 0x0195, "Quectel EG95", QUALCOMM),
    modem(0x2c7c, 0x0296, "Quectel BG96", QUALCOMM),
    modem(0x2c7c, 0x0306, "Quectel EG06, EP06 or EM06", QUALCOMM),
    modem(0x2c7c, 0x0512, "Quectel EG12 or EM12", QUALCOMM),
    modem(0x2c7c, 0x0700, "Quectel BG95", QUALCOMM),
    modem(0x2c7c, 0x0800, "Quectel RM500", QUALCOMM),
    vendor(0x2c7c, "Quectel modem"),
    modem(0x05c6, 0x9003, "Quectel UC20", QUALCOMM),
    modem(0x05c6, 0x9090, "Quectel UC15", QUALCOMM),
    modem(0x05c6, 0x9215, "Quectel EC20", QUALCOMM),
    modem(0x1199, 0x68a2, "Sierra MC7700 or MC7710", &[(0, Silent), (2, Silent), (3, Main)]),
    modem(0x1199, 0x68c0, "Sierra MC73xx", &[(0, Silent), (2, Silent), (3, Main)]),
    modem(0x1199, 0x9071, "Sierra MC74xx", &[(0, Silent), (2, Silent), (3, Main)]),
    modem(0x1199, 0x9091, "Sierra EM75xx", &[(0, Silent), (2, Silent), (3, Main)]),
    vendor(0x1199, "Sierra modem"),
    modem(0x1e2d, 0x0053, "Cinterion PHS8 or alike", &[(0, Commands), (1, Silent), (2, Main), (3, Commands)]),
    vendor(0x1e2d, "Cinterion modem"),
    vendor(0x0681, "Siemens modem"),
    modem(0x1bc7, 0x0021, "Telit HE910, UE910 or UL865", &[(0, Main), (6, Commands)]),
    modem(0x1bc7, 0x1003, "Telit UC864", &[(0, Main), (2, Commands)]),
    modem(0x1bc7, 0x1004, "Telit UC864-G", &[(0, Main), (2, Silent), (3, Commands)]),
    modem(0x1bc7, 0x1006, "Telit CC864", &[(0, Main), (2, Commands)]),
    modem(0x1bc7, 0x1201, "Telit LE910", &[(4, Main), (5, Commands)]),
    vendor(0x1bc7, "Telit modem"),
    other(0x1546, Some(0x01a4), "u-blox receiver for positions"),
    other(0x1546, Some(0x01a5), "u-blox receiver for positions"),
    other(0x1546, Some(0x01a6), "u-blox receiver for positions"),
    other(0x1546, Some(0x01a7), "u-blox receiver for positions"),
    other(0x1546, Some(0x01a8), "u-blox receiver for positions"),
    other(0x1546, Some(0x01a9), "u-blox receiver for positions"),
    modem(0x1546, 0x1010, "u-blox TOBY-L4", &[(2, Commands), (4, Silent), (6, Main), (8, Silent)]),
    modem(0x1546, 0x1102, "u-blox LISA-U2", &[(0, Main), (2, Commands), (4, Commands), (6, Silent), (8, Silent), (10, Silent), (12, Silent)]),
    modem(0x1546, 0x1107, "u-blox TOBY-R2", &[(0, Main), (2, Commands), (4, Commands), (6, Silent), (8, Silent), (10, Silent)]),
    modem(0x1546, 0x110a, "u-blox LARA-R2", &[(0, Main), (2, Commands), (4, Commands), (6, Silent), (8, Silent), (10, Silent)]),
    modem(0x1546, 0x1141, "u-blox TOBY-L2", &[]),
    modem(0x1546, 0x1146, "u-blox TOBY-L2", &[]),
    modem(0x1546, 0x1343, "u-blox LARA-R6", &[]),
    modem(0x1bbb, 0x0000, "Alcatel X060s", &[(1, Commands), (3, Main)]),
    modem(0x1bbb, 0x0017, "Alcatel X220 or alike", &[]),
    modem(0x1c9e, 0x6061, "Alcatel X020 or X030", &[(0, Main), (2, Commands)]),
    vendor(0x1c9e, "Longcheer modem"),
    vendor(0x2cb7, "Fibocom modem"),
    modem(0x0e8d, 0x00a1, "MediaTek modem", &[]),
    modem(0x0e8d, 0x00a5, "MediaTek modem", &[]),
    vendor(0x0af0, "Option modem"),
    vendor(0x1410, "Novatel modem"),
    vendor(0x0bdb, "Ericsson modem"),
    vendor(0x1435, "Wistron NeWeb modem"),
    vendor(0x114f, "Wavecom modem"),
    vendor(0x2020, "BroadMobi modem"),
    modem(0x2001, 0x7d01, "D-Link DWM-156", &[]),
    modem(0x2001, 0x7d02, "D-Link modem", &[]),
    modem(0x2001, 0x7e35, "D-Link DWM-222", &[]),
    modem(0x2357, 0x0201, "TP-Link MA180", &[]),
    modem(0x2357, 0x9000, "TP-Link MA260", &[]),
    adapter(0x0403, None, "FTDI adapter"),
    adapter(0x067b, None, "Prolific adapter"),
    other(0x10c4, Some(0x8a2a), "Nortek radio stick for lamps and switches"),
    other(0x10c4, Some(0x89fb), "Qivicon radio stick for lamps and switches"),
    adapter(0x10c4, None, "Silicon Labs adapter"),
    adapter(0x1a86, None, "WCH adapter"),
    adapter(0x04d8, Some(0x000a), "Microchip adapter"),
    adapter(0x04e2, None, "Exar adapter"),
    adapter(0x9710, None, "MosChip adapter"),
    adapter(0x110a, None, "Moxa adapter"),
    adapter(0x0557, Some(0x2008), "ATEN adapter"),
    adapter(0x050d, Some(0x0109), "Belkin adapter"),
    other(0x2341, None, "Arduino board"),
    other(0x2a03, None, "Arduino board"),
    other(0x16c0, Some(0x0483), "Teensy board"),
    other(0x239a, None, "Adafruit board"),
    other(0x2e8a, None, "Raspberry Pi Pico"),
    other(0x303a, None, "Espressif board"),
    other(0x1cf1, Some(0x0030), "ConBee radio stick for lamps and switches"),
    other(0x0658, Some(0x0200), "Z-Wave radio stick"),
    other(0x0451, Some(0x16a8), "Texas Instruments radio stick"),
    other(0x091e, None, "Garmin receiver for positions"),
    other(0x0483, Some(0x3748), "ST-LINK debugger"),
    other(0x0483, Some(0x374b), "ST-LINK debugger"),
    other(0x1366, None, "SEGGER debugger"),
    other(0x0764, None, "power supply"),
    other(0x051d, None, "power supply"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_stands_twice_and_every_modem_has_a_port_to_ask() {
        for (index, row) in TABLE.iter().enumerate() {
            let twice =
                TABLE[..index].iter().any(|other| (other.vendor, other.product) == (row.vendor, row.product));
            assert!(!twice, "{:04x}:{:04x?} stands twice", row.vendor, row.product);
            let mains = row.interfaces.iter().filter(|(_, role)| *role == Main).count();
            assert_eq!(mains, usize::from(!row.interfaces.is_empty()), "{}: one main port", row.name);
            assert!(row.interfaces.windows(2).all(|pair| pair[0].0 < pair[1].0), "{}: sorted", row.name);
        }
    }

    #[test]
    fn a_product_goes_before_its_vendor() {
        assert_eq!(known(0x12d1, 0x1436).map(|row| row.name), Some("Huawei E173 or E1750"));
        assert_eq!(known(0x12d1, 0xffff).map(|row| row.name), Some("Huawei modem"));
        assert_eq!(known(0x1546, 0x01a8).map(|row| row.kind), Some(Other));
        assert_eq!(known(0x1546, 0xffff).map(|row| row.kind), None);
    }

    #[test]
    fn what_the_table_does_not_say_the_class_may() {
        let huawei = known(0x12d1, 0x1506);
        assert_eq!(role(huawei, Some(0), Some((0xff, 0x02, 0x12))), Main);
        assert_eq!(role(huawei, Some(1), Some((0xff, 0x02, 0x01))), Commands);
        assert_eq!(role(huawei, Some(2), Some((0xff, 0x03, 0x03))), Silent);
        assert_eq!(role(None, Some(0), Some((0x02, 0x02, 0x01))), Commands);
        assert_eq!(role(None, None, None), Role::Unknown);
        // The table's word counts more.
        assert_eq!(role(known(0x12d1, 0x1436), Some(4), Some((0xff, 0x02, 0x03))), Main);
    }
}
