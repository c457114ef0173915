//! Longer messages that come in pieces: joined, durable, bounded (TS 23.040, 9.2.3.24.1; reliability case 36).

use super::stage::*;
use rapidsms::message::*;
use rapidsms::router::Policy;
use rapidsms::store::Store;
use rapidsms::time::Timestamp;

/// One piece of a message of `total`; `set` is its reference.
fn piece(identity: &str, set: &str, total: u16, sequence: u16, text: &str) -> Incoming {
    let units = text.encode_utf16().collect();
    Incoming {
        part: Some(Part { set: set.into(), total, sequence, units }),
        redelivery_key: Some(format!("{identity} {set} {sequence} {text}")),
        raw: Some(text.as_bytes().to_vec()),
        source_time: Some(START + seconds(u64::from(sequence))),
        ..Incoming::new(Connection::new("zain", identity), "")
    }
}

fn hear(stage: &mut Stage, incoming: &Incoming) {
    stage.hears(incoming).unwrap();
}

fn waiting(stage: &mut Stage) -> u64 {
    stage.turn();
    stage.store.reader().unwrap().pieces().unwrap().iter().map(|(_, count)| count).sum()
}

cases! {
    /// Out of order, over a crash between any two, and as one message in one answer.
    fn pieces_become_one_message(stage) {
        for sequence in [3, 1] {
            hear(stage, &piece("+1", "8/7", 3, sequence, ["echo one ", "two ", "three"][usize::from(sequence) - 1]));
            stage.turns();
            stage.crash();
            assert_eq!(stage.flows(), []);
        }
        assert_eq!(waiting(stage), 2);
        let id = stage.hears(&piece("+1", "8/7", 3, 2, "two ")).unwrap();
        stage.turn();
        stage.crash();
        assert_eq!(texts(&stage.flows()), ["one two three"]);
        assert_eq!(waiting(stage), 0);
        let detail = stage.detail(id);
        assert_eq!((detail.row.parts, detail.row.partial, detail.history[0].reason.clone()), (Some(3), false, None));
        assert_eq!(detail.row.source_time, Some(START + seconds(1)), "the earliest");
        let raw = detail.raw.unwrap();
        assert_eq!(unpack_raw(&raw).unwrap(), [(1, &b"echo one "[..]), (2, b"two "), (3, b"three")]);
        assert_eq!(stage.rows(Direction::In).len(), 1, "pieces are no messages");
        stage.assert_conserved();
    }

    /// A repeated piece is acknowledged again, before and after its message is whole, and changes nothing.
    fn p2_once_in_a_repeated_piece_is_known(stage) {
        let [one, two] = [piece("+1", "8/7", 2, 1, "echo a"), piece("+1", "8/7", 2, 2, "b")];
        for incoming in [&one, &one] {
            hear(stage, incoming);
        }
        assert_eq!(waiting(stage), 1);
        // The network sent it again: another key, the same piece.
        hear(stage, &Incoming { redelivery_key: Some("again".into()), ..one.clone() });
        // Without any key.
        hear(stage, &Incoming { redelivery_key: None, ..one.clone() });
        // The same key, as another reading of the modem has it.
        hear(stage, &Incoming { raw: None, ..one.clone() });
        assert_eq!(waiting(stage), 1);
        for incoming in [&two, &two, &one] {
            hear(stage, incoming);
        }
        assert_eq!(texts(&stage.flows()), ["ab"]);
        stage.wait(HOUR);
        hear(stage, &one);
        assert_eq!(stage.flows(), []);
        assert_eq!((waiting(stage), stage.rows(Direction::In).len()), (0, 1));
    }

    /// Pieces of different senders, references, widths, totals and lines have nothing to do with each other.
    fn only_what_belongs_together_is_joined(stage) {
        hear(stage, &piece("+1", "8/7", 2, 1, "echo a"));
        hear(stage, &piece("+2", "8/7", 2, 2, "x"));
        hear(stage, &piece("+1", "8/8", 2, 2, "x"));
        hear(stage, &piece("+1", "16/7", 2, 2, "x"));
        hear(stage, &piece("+1", "8/7", 3, 2, "x"));
        let mut elsewhere = piece("+1", "8/7", 2, 2, "x");
        elsewhere.connection = Connection::new("tnm", "+1");
        hear(stage, &elsewhere);
        assert_eq!(stage.flows(), []);
        assert_eq!(waiting(stage), 6);
        hear(stage, &piece("+1", "8/7", 2, 2, "b"));
        assert_eq!(texts(&stage.flows()), ["ab"]);
    }

    /// References are used again, after 256 messages at the latest: a piece whose place is taken by another begins a new message.
    fn a_reference_may_be_used_again(stage) {
        hear(stage, &piece("+1", "8/7", 2, 1, "echo old"));
        hear(stage, &piece("+1", "8/7", 2, 1, "echo new"));
        hear(stage, &piece("+1", "8/7", 2, 2, " end"));
        assert_eq!(texts(&stage.flows()), ["new end"], "the one that began last is being sent");
        assert_eq!(waiting(stage), 1);
        stage.wait(24 * HOUR);
        assert_eq!(texts(&stage.flows()), ["old [...]"]);
    }

    /// Numbers that contradict themselves make a message of its own; so does the only piece there is.
    fn p3_a_piece_with_wrong_numbers_is_a_message(stage) {
        for (total, sequence) in [(0, 0), (0, 1), (1, 1), (2, 0), (2, 3), (256, 1)] {
            hear(stage, &piece("+1", "8/7", total, sequence, &format!("echo {sequence} of {total}")));
        }
        let given = stage.flows();
        assert_eq!(texts(&given), ["0 of 0", "1 of 0", "1 of 1", "0 of 2", "3 of 2", "1 of 256"]);
        assert_eq!(waiting(stage), 0);
        assert_eq!(stage.rows(Direction::In)[0].parts, None);
        let mut broken = piece("+1", "8/7", 2, 1, "");
        broken.undecodable = Some("too short".into());
        let id = stage.hears(&broken).unwrap();
        stage.flows();
        assert_eq!(stage.state(id), State::Quarantined);
    }

    /// What never becomes whole is delivered after a day, as it is, and says so.
    fn p3_what_stays_incomplete_is_delivered_with_its_gaps(stage) {
        hear(stage, &piece("+1", "8/7", 4, 1, "echo one"));
        stage.wait(20 * HOUR);
        hear(stage, &piece("+1", "8/7", 4, 3, "three"));
        assert_eq!(stage.flows(), []);
        let now = stage.now;
        assert_eq!(stage.wake_at(now), Some(now + 24 * HOUR), "after the newest piece");
        stage.wait(24 * HOUR - seconds(1));
        assert_eq!(stage.flows(), []);
        stage.wait(seconds(1));
        assert_eq!(texts(&stage.flows()), ["one [...] three [...]"]);
        let row = stage.rows(Direction::In).remove(0);
        assert_eq!((row.partial, row.parts), (true, Some(4)));
        let reason = stage.detail(row.id).history[0].reason.clone().unwrap();
        assert_eq!(reason, "parts 1 and 3 of 4 came; the others did not within 24 h");
        assert!(stage.journal().partial, "apps can tell");
        // A straggler is a message with gaps of its own; a repetition is nothing.
        hear(stage, &piece("+1", "8/7", 4, 3, "three"));
        hear(stage, &piece("+1", "8/7", 4, 2, "echo two"));
        stage.wait(24 * HOUR);
        assert_eq!(stage.flows(), [], "it begins with a gap, so the app has no word for it");
        assert_eq!(stage.rows(Direction::In)[1].text, "[...] echo two [...]");
        let now = stage.now;
        assert_eq!(stage.wake_at(now), None);
        stage.assert_conserved();
    }

    /// The time to wait may be changed while pieces wait.
    fn the_time_to_wait_is_a_rule(stage) {
        hear(stage, &piece("+1", "8/7", 2, 1, "echo one"));
        assert_eq!(stage.flows(), []);
        stage.set_policy(Policy { join_within: seconds(90), ..Policy::default() });
        stage.wait(seconds(89));
        assert_eq!(stage.flows(), []);
        stage.wait(seconds(1));
        assert_eq!(texts(&stage.flows()), ["one [...]"]);
        let row = stage.rows(Direction::In).remove(0);
        let reason = stage.detail(row.id).history[0].reason.clone().unwrap();
        assert_eq!(reason, "part 1 of 2 came; the others did not within 90 s");
    }

    /// P14: neither a jump of the clock nor one that lies behind delivers anything early.
    fn p14_clock_pieces_wait_by_a_steady_clock(stage) {
        hear(stage, &piece("+1", "8/7", 2, 1, "echo one"));
        stage.turns();
        let jump = 1_000 * HOUR;
        stage.wait(jump).clock(jump, false);
        assert_eq!(stage.flows(), []);
        stage.clock(seconds(0), true);
        stage.wait(25 * HOUR);
        assert_eq!(stage.flows(), [], "nothing ends while the clock cannot be trusted");
        stage.clock(seconds(0), false);
        assert_eq!(texts(&stage.flows()), ["one [...]"]);
    }

    /// A sender with too many incomplete messages gets the stalest one as it is; so does a line with too many pieces.
    fn p10_memory_pieces_are_bounded(stage) {
        for n in 0..9 {
            hear(stage, &piece("+1", &format!("8/{n}"), 2, 1, &format!("echo {n}")));
            stage.wait(seconds(1));
        }
        hear(stage, &piece("+2", "8/1", 2, 1, "echo other"));
        assert_eq!(texts(&stage.flows()), ["0 [...]"]);
        let row = stage.rows(Direction::In).remove(0);
        let reason = stage.detail(row.id).history[0].reason.clone().unwrap();
        assert_eq!(
            reason,
            "part 1 of 2 came; the others were not waited for: at most 8 longer messages of one sender may be incomplete"
        );
        assert_eq!(waiting(stage), 9);
        stage.set_policy(Policy { max_pieces: 4, ..Policy::default() });
        hear(stage, &piece("+3", "8/1", 3, 1, "echo more"));
        assert_eq!(texts(&stage.flows()), ["1 [...]", "2 [...]", "3 [...]", "4 [...]", "5 [...]", "6 [...]"]);
        assert_eq!(waiting(stage), 4);
    }

    /// P1: whichever call of the store fails while the last piece comes, the message is there once, and so is its answer.
    fn p1_no_loss_at_any_failing_call(stage) {
        if !stage.forgets() {
            return;
        }
        for n in 0..14 {
            for leaves in [Leaves::Nothing, Leaves::All] {
                let identity = format!("+{n}{leaves:?}");
                hear(stage, &piece(&identity, "8/7", 2, 1, "echo a"));
                stage.turns();
                stage.store.fail(n, leaves, 1);
                let last = piece(&identity, "8/7", 2, 2, "b");
                let mut given = Vec::new();
                for _ in 0..100 {
                    // The source tries again until it is told that the piece is safe.
                    let now = stage.now;
                    let heard = stage.hears(&last).is_ok();
                    stage.step(now);
                    let committed = stage.commit(now);
                    let safe = heard && committed.is_ok();
                    given.extend(committed.unwrap_or_default());
                    if safe {
                        break;
                    }
                    stage.wait(seconds(1));
                }
                stage.store.fail_never();
                for outgoing in &given {
                    stage.tells(outgoing, Ok(Receipt::default()));
                }
                given.extend(stage.flows());
                assert_eq!(texts(&given), ["ab"], "call {n} failed and left {leaves:?}");
                assert_eq!(waiting(stage), 0);
                stage.wait(HOUR);
            }
        }
        stage.assert_conserved();
    }

    /// 255 pieces of the widest kind make a text that is longer than any other and is kept whole.
    fn p3_the_longest_message_there_can_be(stage) {
        let wide = "\u{20ac}".repeat(150);
        for sequence in (1..=255).rev() {
            hear(stage, &piece("+1", "8/7", 255, sequence, &wide));
        }
        stage.flows();
        let row = stage.rows(Direction::In).remove(0);
        assert_eq!((row.text.len(), row.state), (255 * 150 * 3, State::Handled));
        assert_eq!(row.source_time, Some(Timestamp(START.0 + 1_000_000)));
    }
}
