use proptest::prelude::*;

use super::*;

const STREAM: &str = concat!(
    "event: message_start\n",
    "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":100,",
    "\"cache_creation_input_tokens\":40,\"cache_read_input_tokens\":60,\"output_tokens\":1,",
    "\"cache_creation\":{\"ephemeral_5m_input_tokens\":30,\"ephemeral_1h_input_tokens\":10}}}}\n\n",
    "event: content_block_delta\r\n",
    "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",",
    "\"text\":\"\\\"usage\\\": {\\\"output_tokens\\\": 9999} \\nä\"}}\r\n\r\n",
    "event: message_delta\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},",
    "\"usage\":{\"input_tokens\":0,\"output_tokens\":25}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const USED: Used = Used {
    usage: Usage {
        input_tokens: 200,
        output_tokens: 25,
        cached_input_tokens: 60,
        reasoning_tokens: 0,
    },
    cache_creation: 40,
    hour: 10,
};

fn counted(protocol: Protocol, events: bool, pieces: &[&[u8]], whole: bool) -> Option<Used> {
    let mut count = Count::new(protocol, events);
    for piece in pieces {
        count.add(piece);
    }
    count.used(whole)
}

fn stream(text: &str) -> Option<Used> {
    counted(Protocol::Anthropic, true, &[text.as_bytes()], true)
}

proptest! {
    #[test]
    fn a_stream_counts_the_same_however_it_is_cut_into_pieces(
        cuts in proptest::collection::vec(0..STREAM.len(), 0..40),
    ) {
        let mut cuts = cuts;
        cuts.extend([0, STREAM.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts
            .windows(2)
            .map(|ends| &STREAM.as_bytes()[ends[0]..ends[1]])
            .collect();
        prop_assert_eq!(counted(Protocol::Anthropic, true, &pieces, true), Some(USED));
    }

    #[test]
    fn a_stream_that_breaks_off_before_its_last_count_tells_nothing(
        end in 0..STREAM.find("event: message_delta").unwrap(),
    ) {
        let cut = &STREAM.as_bytes()[..end];
        prop_assert_eq!(counted(Protocol::Anthropic, true, &[cut], false), None);
    }
}

#[test]
fn a_stream_that_breaks_off_after_its_last_count_has_told_all() {
    let end = STREAM.find("event: message_stop").unwrap();
    let cut = &STREAM.as_bytes()[..end];
    let used = counted(Protocol::Anthropic, true, &[cut], false);
    assert_eq!(used, Some(USED));
}

#[test]
fn writing_to_the_cache_costs_more() {
    let price = Price {
        input: 4.0,
        output: 20.0,
        cached_input: Some(0.4),
    };
    // 140 at 4, of which 30 at a quarter more and 10 at twice; 60 at 0.4; 25 at 20
    assert_eq!(USED.cost(&price), MicroUsd(560 + 30 + 40 + 24 + 500));
}

#[test]
fn a_line_without_end_takes_no_memory_and_hides_no_count_after_it() {
    let mut count = Count::new(Protocol::Anthropic, true);
    for _ in 0..100 {
        count.add(&[b'x'; 64 * 1024]);
        if let Form::Events(Some(line)) = &count.form {
            assert!(line.len() <= MOST_LINE);
        }
    }
    count.add(b"\n\n");
    count.add(STREAM.as_bytes());
    assert_eq!(count.used(true), Some(USED));
}

#[test]
fn the_openai_forms_are_counted() {
    let usage = Usage {
        input_tokens: 50,
        output_tokens: 7,
        cached_input_tokens: 20,
        reasoning_tokens: 3,
    };
    let responses = concat!(
        "data: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":50,\"output_tokens\":7,",
        "\"input_tokens_details\":{\"cached_tokens\":20},\"output_tokens_details\":{\"reasoning_tokens\":3}}}}\n\n",
    );
    let chat = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":7,",
        "\"prompt_tokens_details\":{\"cached_tokens\":20},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}\n\n",
        "data: [DONE]\n\n",
    );
    for text in [responses, chat] {
        let used = counted(Protocol::OpenAi, true, &[text.as_bytes()], true).unwrap();
        assert_eq!(used.usage, usage);
    }
    let whole = br#"{"choices":[],"usage":{"prompt_tokens":50,"completion_tokens":7}}"#;
    let used = counted(Protocol::OpenAi, false, &[whole], true).unwrap();
    assert_eq!((used.usage.input_tokens, used.usage.output_tokens), (50, 7));
    assert_eq!(counted(Protocol::OpenAi, false, &[whole], false), None);
}

#[test]
fn a_reply_without_usage_tells_nothing() {
    assert_eq!(stream("data: {\"type\":\"message_stop\"}\n\n"), None);
    assert_eq!(stream(""), None);
    let whole = counted(Protocol::Anthropic, false, &[b"{\"content\":[]}"], true);
    assert_eq!(whole, None);
    assert_eq!(
        counted(Protocol::Anthropic, false, &[b"<html>"], true),
        None
    );
}
