"""Every known pitfall of alpaca-py and Alpaca's wire, and the test that holds its work-around.

| pitfall | what happens with alpaca-py alone | held by |
|---|---|---|
| R1 | no timeout on any request | reads are cut at the deadline, changes at the read timeout |
| R2 | a POST is re-sent on 429 and 504, without an id | one request per change, a taken id means look it up |
| R3 | sleeps on a thread, ignores the rate headers | the gate is asked first and told the headers; 429 says when |
| R4 | ten connections, more are thrown away | connections are kept and bounded; the environment is not read |
| R5 | orders as floats | decimal strings both ways |
| R6 | an unknown word fails an accepted order | unknown words are data |
| R7 | reading an error's code raises | bodies of any shape are judged without raising |
| R8 | headers are dropped | request ids and rate headers are kept |
| R9 | all pages in memory, one error loses all | one page is one request |
| R10 | slashes in paths, `BTCUSD` in positions | ids and symbols are checked, crypto is named by the asset table |
| R11 | requests' exceptions leak, threads pile up | every end is a domain error, the queue is bounded |
| S1 | a core burns before the first subscription | idling costs nothing |
| S2 | changes from the stream's own loop deadlock | changes are made on the running loop |
| S3 | a raising handler drops the rest of the batch | nothing is lost |
| S4 | 1,024 frames wait, stale data without a word | few frames wait, one synchronous call per frame |
| S5 | error frames are only logged | told, and only acknowledged symbols count |
| S6 | a bad key is retried for ever, quickly | told with its code, asked about slowly |
| S7 | a connection limit is retried for ever | told, never within a second, one connection per feed |
| S8 | no word of a disconnect | every step is told |
| S9 | waits grow though all is well | a handshake makes them short |
| S10 | canceling leaves the socket open | closing frees the socket in every state |
| S11 | stop before run raises or is forgotten | closing before the beginning is nothing |
| S12 | a subscription between two steps is lost | wanted and acknowledged are reconciled |
| S13 | leaving an unknown symbol raises | nothing happens; an empty set closes the socket |
| S14 | a frame over 1 MiB loops for ever | 16 MiB are taken |
| S15 | a dead peer is noticed after 190 s | after 20 s |
| S16 | one bad update ends the order stream | the next ones come |
| S17 | no replay, a refused listen is ignored | a refusal ends the attempt, every reconnect is told |
| S18 | nanoseconds are cut | kept |
| S19 | dependencies drift | the hooks that are overridden are there |
| S20 | handlers must be coroutine functions | listeners are plain calls |
"""

from __future__ import annotations

from importlib import import_module

import pytest

HELD_BY: dict[str, tuple[str, ...]] = {
    "R1": (
        "test_http::test_reads_are_cut_at_the_callers_deadline",
        "test_http::test_a_dripping_read_is_cut_at_the_deadline_too",
        "test_http::test_after_the_first_byte_a_change_without_proof_is_unknown_and_never_sent_again",
        "test_http::test_a_server_that_takes_no_connection_is_given_up_after_the_connect_timeout",
    ),
    "R2": (
        "test_http::test_after_the_first_byte_a_change_without_proof_is_unknown_and_never_sent_again",
        "test_http::test_a_taken_id_means_look_it_up",
        "test_http::test_a_stale_connection_never_makes_a_change_leave_twice",
        "test_http::test_one_call_is_one_request_whatever_alpaca_py_would_do",
        "test_with_emulator::test_an_order_whose_answer_is_lost_is_one_order",
    ),
    "R3": (
        "test_http::test_the_gate_is_asked_first_and_told_what_the_venue_counts",
        "test_http::test_429_says_when_to_try_again",
    ),
    "R4": (
        "test_http::test_connections_are_kept_and_bounded",
        "test_http::test_the_environment_is_not_read",
    ),
    "R5": (
        "test_converters::test_numbers_of_an_order_leave_as_plain_decimal_strings",
        "test_fields::test_numbers_are_exact_spelled_as_text_or_as_numbers",
    ),
    "R6": (
        "test_trading_adapter::test_an_accepted_order_with_unknown_words_is_accepted",
        "test_trading_adapter::test_an_accepted_order_whose_answer_cannot_be_read_is_unknown_never_failed",
        "test_converters::test_unknown_words_are_none_or_unrecognized_never_an_error",
        "test_read_adapters::test_snapshots_are_read_in_both_wrappings_and_past_extra_keys",
        "test_with_emulator::test_an_unknown_status_is_kept",
    ),
    "R7": ("test_http::test_a_read_is_never_ambiguous", "test_http::test_a_refusal_in_alpacas_shape_is_definite"),
    "R8": ("test_http::test_the_venues_request_id_is_kept",),
    "R9": ("test_read_adapters::test_bars_come_one_page_at_a_time_and_an_error_loses_no_page",),
    "R10": (
        "test_read_adapters::test_crypto_positions_are_named_by_the_asset_table_never_by_cutting_strings",
        "test_read_adapters::test_crypto_fills_are_named_by_the_asset_table",
        "test_trading_adapter::test_what_is_no_venue_id_never_reaches_a_path",
        "test_trading_adapter::test_what_is_no_symbol_never_leaves",
    ),
    "R11": (
        "test_http::test_waiting_requests_are_bounded_and_a_full_queue_sends_nothing",
        "test_http::test_a_caller_that_goes_away_cancels_no_change",
        "test_http::test_a_refused_connection_certainly_sent_nothing",
    ),
    "S1": ("test_data_stream::test_idling_before_the_first_subscription_costs_nothing",),
    "S2": ("test_data_stream::test_subscriptions_change_by_difference_on_the_running_loop",),
    "S3": (
        "test_data_stream::test_a_listener_that_raises_loses_nothing_and_stops_nothing",
        "test_data_stream::test_one_broken_quote_takes_no_other_of_its_frame_down",
    ),
    "S4": (
        "test_data_stream::test_few_frames_wait_in_front_of_us",
        "test_data_stream::test_a_slow_client_that_is_thrown_out_hears_why_and_comes_back",
    ),
    "S5": (
        "test_data_stream::test_an_error_frame_while_running_is_told_and_changes_no_state",
        "test_subscriptions::test_one_refused_symbol_takes_no_other_down",
    ),
    "S6": (
        "test_data_stream::test_a_refusal_is_told_with_its_code_and_asked_about_slowly",
        "test_reconnect::test_a_refused_key_is_asked_about_slowly",
    ),
    "S7": (
        "test_reconnect::test_after_a_connection_limit_no_attempt_comes_within_a_second",
        "test_data_stream::test_one_connection_of_a_feed_and_never_a_second",
        "test_with_emulator::test_a_connection_limit_is_told_and_ends_when_there_is_room",
    ),
    "S8": (
        "test_data_stream::test_a_reset_is_told_and_everything_is_subscribed_again",
        "test_with_emulator::test_cut_sockets_are_told_and_come_back",
    ),
    "S9": (
        "test_data_stream::test_the_wait_stays_short_when_a_handshake_succeeded_though_no_data_came",
        "test_order_stream::test_a_quiet_feed_never_learns_to_wait_long",
    ),
    "S10": (
        "test_data_stream_closing::test_closing_frees_the_socket_in_every_state",
        "test_data_stream_closing::test_closing_a_peer_that_answers_nothing_is_bounded",
        "test_order_stream::test_closing_frees_the_socket",
    ),
    "S11": ("test_data_stream_closing::test_close_before_anything_began_is_nothing",),
    "S12": (
        "test_data_stream::test_changes_while_connecting_are_all_in_place_once_connected",
        "test_subscriptions::test_whatever_is_wanted_however_late_the_answers_the_venue_ends_with_exactly_that",
    ),
    "S13": (
        "test_data_stream::test_leaving_a_symbol_that_was_never_there_is_nothing",
        "test_data_stream_closing::test_an_empty_set_closes_the_socket_and_a_new_one_opens_it_again",
    ),
    "S14": ("test_data_stream::test_a_large_frame_is_taken",),
    "S15": (
        "test_data_stream::test_a_half_open_peer_is_noticed_by_pings",
        "test_data_stream::test_a_venue_that_never_finishes_its_handshake_is_left",
    ),
    "S16": (
        "test_order_stream::test_an_unreadable_frame_is_told_with_the_orders_id_and_the_next_ones_come",
        "test_order_stream::test_a_listener_that_raises_stops_nothing",
    ),
    "S17": (
        "test_order_stream::test_a_refusal_is_told_and_tried_again_at_its_own_pace",
        "test_order_stream::test_silence_after_listen_is_no_listening",
        "test_order_stream::test_every_reconnect_is_told_so_that_what_was_missed_can_be_read",
    ),
    "S18": (
        "test_converters::test_a_quote_of_a_frame_is_bit_for_bit_and_to_the_nanosecond",
        "test_fields::test_times_are_exact_to_the_nanosecond",
    ),
    "S19": ("test_clients::test_alpaca_py_is_new_enough_and_has_the_hooks_that_are_overridden",),
    "S20": ("test_data_stream::test_from_first_subscription_to_quotes_and_what_is_told",),
}


def test_no_pitfall_is_left_out() -> None:
    assert set(HELD_BY) == {f"R{number}" for number in range(1, 12)} | {f"S{number}" for number in range(1, 21)}
    assert __doc__ is not None
    assert all(f"| {pitfall} |" in __doc__ for pitfall in HELD_BY)


@pytest.mark.parametrize("pitfall", HELD_BY)
def test_every_work_around_has_its_test(pitfall: str) -> None:
    for place in HELD_BY[pitfall]:
        module, test = place.split("::")
        assert callable(getattr(import_module(f"tests.infrastructure.alpaca.{module}"), test))
