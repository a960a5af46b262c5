# SPDX-License-Identifier: LGPL-2.1-or-later
"""The answer in words, and how far it can be trusted."""

from __future__ import annotations

from migcomp.fleet.results import Evacuation, FleetResult, Migrated
from migcomp.units import format_count, format_seconds, format_share, format_size

#: What differs by less is no reason to do otherwise.
_WORTH = 0.02
_MISSED = 1.1  # of the downtime limit, which QEMU's estimate may miss by that
_NAMED = 3
_USED = 0.9  # of a link: below that, it is not what the evacuation waits for


def format_duration(seconds: float) -> str:
    """As in ``42.1 s``, ``3 min 40 s`` or ``2 h 05 min``."""
    if round(seconds) < 100:
        return format_seconds(seconds) if seconds >= 1e-3 else "< 1 ms"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min"


def verdict(result: FleetResult) -> tuple[str, ...]:
    """Whether compression helps; then what is wrong, if anything."""
    return (_helps(result), *_convergence(result), *_downtimes(result))


def _helps(result: FleetResult) -> str:
    plain, asked = result.plain, result.asked
    hosts = [host.name for host in result.fleet.hosts if host.evacuate]
    what = f"host {hosts[0]}" if len(hosts) == 1 else f"{len(hosts)} hosts"
    guests = len(asked.guests)
    moved = f"{what} of {'its' if len(hosts) == 1 else 'their'} " + (
        "one guest" if guests == 1 else f"{format_count(guests)} guests"
    )
    if asked is plain:
        return (
            f"To empty {moved} takes {format_duration(plain.seconds)} without "
            f"compression, and {_traffic(plain)}; no other way was asked for."
        )
    times = (
        f"{format_duration(asked.seconds)} with {asked.way}, and "
        f"{format_duration(plain.seconds)} without"
    )
    ratio = asked.seconds / plain.seconds
    if abs(ratio - 1) <= _WORTH:
        answer = "makes no difference in time"
    elif ratio < 1:
        answer = f"helps: it takes {100 * (1 - ratio):.0f} % less time"
    else:
        answer = f"does not help: it takes {_more(ratio)} the time"
    return (
        f"Compression {answer} to empty {moved}: {times}; {_traffic(asked)}, instead "
        f"of {_traffic(plain)}."
    )


def _more(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio >= 1.1 else f"{100 * ratio:.0f} % of"


def _traffic(evacuation: Evacuation) -> str:
    return (
        f"{format_size(evacuation.wire_bytes)} and "
        f"{format_duration(evacuation.cpu_seconds)} of CPU time"
    )


def name_of(evacuation: Evacuation) -> str:
    return (
        "Without compression"
        if evacuation.way.method == "none"
        else f"With {evacuation.way}"
    )


def _convergence(result: FleetResult) -> list[str]:
    sentences = []
    for evacuation in result.evacuations:
        forced = evacuation.forced
        if not forced:
            continue
        kinds = dict.fromkeys(guest.name for guest in forced)
        named = ", ".join([*kinds][:_NAMED]) + (", ..." if len(kinds) > _NAMED else "")
        worst = max(guest.downtime for guest in forced)
        guests, they = "guests do", "They were"
        if len(forced) == 1:
            guests, they = "guest does", "It was"
        sentences.append(
            f"{name_of(evacuation)} {format_count(len(forced))} {guests} not converge "
            f"({named}), where QEMU would go on for ever. {they} stopped by force "
            f"after 30 rounds in vain, for up to {format_duration(worst)}. Let fewer "
            "migrate at once, or slow such guests down: migcomp simulate "
            "--auto-converge tells what that takes, and it is not reckoned here."
        )
    return sentences


def missed(evacuation: Evacuation) -> list[Migrated]:
    """Guests that were stopped for clearly longer than their limit."""
    return [
        guest
        for guest in evacuation.guests
        if guest.downtime > guest.downtime_limit * _MISSED
    ]


def _downtimes(result: FleetResult) -> list[str]:
    sentences = []
    for evacuation in result.evacuations:
        late = [guest for guest in missed(evacuation) if guest.converged]
        if not late:
            continue
        worst = max(guest.downtime for guest in late)
        number = len(late)
        guests = "1 guest is" if number == 1 else f"{format_count(number)} guests are"
        sentences.append(
            f"{name_of(evacuation)} {guests} stopped for longer than the downtime "
            f"limit, {format_duration(worst)} at worst: the more "
            "migrate at once, the more data waits in the kernel's buffers, of which "
            "QEMU does not know. Fewer at a time make it shorter."
        )
    return sentences


def notes(result: FleetResult) -> tuple[str, ...]:
    """What the figures rest on, and what they leave out."""
    fleet = result.fleet
    costs = f"{'' if result.measured else 'from '}{result.costs}"
    sentences = [
        f"Policy {fleet.policy}; bytes and CPU time of pages {costs}.",
        *_spare(result),
        *_crowded(result),
    ]
    moved = len(result.asked.guests)
    silent = moved - result.writing
    if silent:
        which = "All guests" if silent == moved else f"{format_count(silent)} guests"
        sentences.append(
            f"{which} are taken to write nothing: give their dirty-rate, or snapshots "
            "of them, as it takes longer if they do."
        )
    sentences.append(
        "Links carry nothing else, and destinations keep up. A guest is stopped for "
        "what is left of its memory; devices take their time."
    )
    return tuple(sentences)


def _spare(result: FleetResult) -> list[str]:
    asked = result.asked
    busiest = max(asked.links, key=lambda link: link.mean)
    if busiest.mean >= _USED:
        return []
    return [
        f"{name_of(asked)} no link is used for more than {100 * busiest.mean:.0f} % "
        "of the time's worth: more threads, or more guests at a time, may be quicker "
        "where CPUs are left."
    ]


def _crowded(result: FleetResult) -> list[str]:
    sentences = []
    for host in result.asked.hosts:
        if host.crowded > 0:
            share = format_share(host.crowded, host.wanted)
            sentences.append(
                f"Guests on host {host.name} want more CPUs than it has: they go "
                f"without {share} of their CPU time whether it is evacuated or not."
            )
    return sentences[:_NAMED]
