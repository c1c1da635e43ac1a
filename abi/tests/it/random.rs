//! Sequences of host calls with random arguments: whatever comes, no panic, and the board stays in order.

use chassis_abi::{Answer, Callback, Row, Status, TABLE};
use proptest::prelude::*;

use crate::rig::{Allocator, DATA, END, HEAP, Rig};

/// Numbers that mean something somewhere: kinds, contexts, pointers, lengths, statuses.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0_u64..12,
        4 => prop::sample::select(vec![DATA, DATA + 3, HEAP, HEAP - 1, END - 1, END - 4, END - 8, END]).prop_map(u64::from),
        2 => prop::sample::select(vec![200_u64, 404, 599, 600, 1024, 65_536, 65_736]),
        2 => prop::sample::select(vec![0x7fff_ffff_u64, 0x8000_0000, 0xffff_fffd, 0xffff_ffff, u64::MAX]),
        1 => any::<u64>(),
    ]
}

#[derive(Debug, Clone)]
struct Call {
    row: usize,
    args: Vec<u64>,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = (0..TABLE.len(), prop::collection::vec(number(), 16)).prop_map(|(row, args)| Call { row, args });
    prop::collection::vec(call, 1..30)
}

fn allocator() -> impl Strategy<Value = Allocator> {
    prop_oneof![
        Just(Allocator::Good),
        Just(Allocator::Grows),
        Just(Allocator::Traps),
        Just(Allocator::Exits),
        Just(Allocator::Calls("env", "proxy_log")),
        Just(Allocator::Calls("env", "proxy_done")),
        number().prop_map(|pointer| Allocator::Answers(pointer as u32)),
    ]
}

/// What the guest finds in its memory: small maps, names, paths, vectors for `fd_write`.
fn memory() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"x-a".to_vec()),
        Just(b":path\0/other\0".to_vec()),
        Just(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0b\0".to_vec()),
        Just(b"plugin_name\0".to_vec()),
        Just([DATA.to_le_bytes(), 3_u32.to_le_bytes()].concat()),
        prop::collection::vec(any::<u8>(), 1..12),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn callable(row: &'static Row) -> bool {
    // Their names have another type in this module.
    row.answer != Answer::None || matches!(row.name, "proc_exit" | "emscripten_notify_memory_growth")
}

/// Whether a function may answer this. In builds without debug assertions nothing else asks.
fn is_listed(row: &Row, answer: u32) -> bool {
    let bad_memory = !row.params.is_empty() && answer == Status::InvalidMemoryAccess as u32;
    row.answer != Answer::Status || bad_memory || row.statuses.iter().any(|status| *status as u32 == answer)
}

/// What holds whatever a guest does.
fn judge(rig: &mut Rig) {
    let keys = [rig.exchange, rig.other_exchange];
    let contexts = rig.instance.state().contexts.len();
    assert_eq!(contexts, 4);
    assert!(rig.instance.state().board.is_none());
    let board = rig.board();
    // Each subject once: two timers, for each stream a response, two directions and a close, and for each of three queues
    // its consumer and its items.
    assert!(board.effects.len() <= 16, "{:?}", board.effects);
    for key in keys {
        let exchange = board.exchanges.get(key).unwrap();
        for half in [&exchange.request, &exchange.response] {
            for list in [&half.headers, &half.trailers] {
                assert!(list.len() <= 1024 && list.byte_size() <= 1 << 20);
                assert!(
                    list.iter()
                        .all(|(name, value)| is_name(name) && !value.iter().any(|byte| b"\r\n\0".contains(byte)))
                );
            }
        }
        let names = |list: &chassis_abi::HeaderList| list.iter().filter(|(name, _)| name.starts_with(b":")).count();
        assert_eq!((names(&exchange.request.headers), names(&exchange.response.headers)), (4, 1));
        assert!(exchange.lanes[0].request.body.len() <= 16 << 20);
        assert!(exchange.properties.len() <= 1000);
        assert!(!exchange.answered && !exchange.response_started);
    }
}

fn is_name(name: &[u8]) -> bool {
    let token = name.strip_prefix(b":").unwrap_or(name);
    !token.is_empty() && token.iter().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && *byte != b':')
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_never_panic_and_keep_the_board_in_order(
        calls in calls(),
        allocator in allocator(),
        memory in memory(),
        callback in prop::sample::select(vec![
            Callback::Initialize,
            Callback::VmStart,
            Callback::Configure,
            Callback::Tick,
            Callback::RequestHeaders,
            Callback::RequestBody,
            Callback::ResponseTrailers,
            Callback::Log,
        ]),
        context in 0_u32..6,
    ) {
        let mut rig = Rig::new();
        rig.allocator(allocator);
        let stopped = rig.run(callback, context, move |wasm| {
            wasm.put(DATA, &memory);
            for call in calls {
                let row = TABLE[call.row];
                if !callable(row) {
                    continue;
                }
                let answer = wasm.import(row.modules[0], row.name, &call.args[..row.sig.params.len()])?;
                assert!(is_listed(row, answer), "{} answered {answer}", row.name);
            }
            Ok(())
        });
        if stopped.is_err() {
            prop_assert!(rig.board().effects.is_empty());
        }
        judge(&mut rig);
    }
}
