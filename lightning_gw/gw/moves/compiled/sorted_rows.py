"""The best assignment of sorted rows, and a bound on every other, compiled for the CPU with Numba.

See `search.sorted_rows`. The assignment is searched in float32 with potentials of rows and columns; by linear duality
those of the columns alone bound the cost of every assignment from below, whatever they are and however they were
rounded. Only that bound is computed in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lightning_gw.gw.moves.compiled.cache import compiled
from lightning_gw.gw.moves.compiled.swaps import OPTIONS, VECTORISED

#: Lets minima be taken in vectors, but no sum in another order: code just compiled and code that was kept chose two of
#: them, and with a price that differs in its last bit the bound differs.
IN_ORDER: dict[str, Any] = {**OPTIONS, "fastmath": {"nnan", "ninf", "nsz"}}
#: Beyond all costs, yet far from the largest float32.
FAR = np.float32(1e30)


@compiled(**IN_ORDER)
def reduce(products, potentials):  # type: ignore[no-untyped-def]
    """Make costs of ``(n, n)`` float32 products, in place: negated, less what any potentials may take off.

    Off come `potentials`, ``(n,)`` float32, of the rows, then the least of every column, then the least of every row.

    Returns:
        ``(n,)`` what was taken off the columns; what was taken off the rows is nowhere needed.
    """
    n = len(potentials)
    columns = np.full(n, FAR, np.float32)
    for i in range(n):
        row, own = products[i], potentials[i]
        for j in range(n):
            columns[j] = min(columns[j], -row[j] - own)
    for i in range(n):
        row = products[i]
        least = FAR
        for j in range(n):
            row[j] = -row[j] - columns[j]
            least = min(least, row[j])
        for j in range(n):
            row[j] -= least
    return columns


@compiled(**IN_ORDER)
def reach(costs, prices, offset, least, distances, before, row):  # type: ignore[no-untyped-def]
    """Shorten the distances of columns to those that lead over one row; none falls below the `least` so far."""
    for j in range(len(prices)):
        distance = max(costs[j] - prices[j] - offset, least)
        before[j] = row if distance < distances[j] else before[j]
        distances[j] = min(distance, distances[j])


@compiled(**IN_ORDER)
def place_of_least(bits):  # type: ignore[no-untyped-def]
    """Where the least of some float32, none negative, comes first, by their bits as int32.

    Those are in the same order, and unlike the floats they are searched in vectors.
    """
    least = bits[0]
    for j in range(len(bits)):
        least = min(least, bits[j])
    place = np.int32(len(bits))
    for j in range(len(bits)):
        place = min(place, np.int32(j) if bits[j] == least else np.int32(len(bits)))
    return place


@compiled(**OPTIONS)
def assign(costs, p):  # type: ignore[no-untyped-def]
    """Best assignment of rows to columns by shortest augmenting paths (Jonker and Volgenant 1987).

    Args:
        costs: ``(n, n)`` float32, none negative.
        p: ``(n,)`` int64, overwritten.

    Returns:
        ``(n,)`` float32 prices of the columns: to rounding, every row has the column that is cheapest for it less its
        price.
    """
    n = len(p)
    prices, owner = np.zeros(n, np.float32), np.full(n, -1)
    distances, open_prices = np.empty(n, np.float32), np.empty(n, np.float32)
    before, bits = np.empty(n, np.int32), distances.view(np.int32)
    passed, at = np.empty(n, np.int64), np.empty(n, np.float32)
    for start in range(n):
        for j in range(n):
            distances[j], open_prices[j] = FAR, prices[j]
        i, offset, least, count = start, np.float32(0), np.float32(0), 0
        while True:
            reach(costs[i], open_prices, offset, least, distances, before, np.int32(i))
            j = place_of_least(bits)
            least, i = distances[j], owner[j]
            if i < 0:
                break
            passed[count], at[count] = j, least
            count += 1
            distances[j], open_prices[j] = FAR, -FAR  # so it is not reached again
            offset = costs[i, j] - prices[j] - least
        for k in range(count):
            prices[passed[k]] += at[k] - least
        while True:
            i = before[j]
            owner[j] = i
            following = p[i]
            p[i] = j
            if i == start:
                break
            j = following
    return prices


@compiled(**IN_ORDER)
def net_costs(costs, prices, out):  # type: ignore[no-untyped-def]
    """Costs of all columns to one row less their prices; rounding makes none negative."""
    for j in range(len(prices)):
        out[j] = max(costs[j] - prices[j], np.float32(0))


@compiled(**VECTORISED)
def squared_distance(a, b):  # type: ignore[no-untyped-def]
    """From the differences themselves: nothing cancels where rows are alike."""
    total = 0.0
    for k in range(len(a)):
        difference = a[k] - b[k]
        total += difference * difference
    return total


@compiled(**OPTIONS)
def certified(costs, prices, slack, first, second, exact_prices, p):  # type: ignore[no-untyped-def]
    """What the assignment `p` costs, less what any other could save: at fixed prices, each row by itself.

    Costs and savings are squared distances of rows in float64, and what their sum may have lost to rounding is taken
    off. Savings are sought only where float32 cannot rule them out.

    Args:
        costs: ``(n, n)`` float32, up to a factor and something of each row's own the squared distances.
        prices: ``(n,)`` float32 of the columns.
        slack: How far rounding may have put the difference of two costs, less prices, from the truth.
        first: ``(n, n)`` float64 rows of one layer.
        second: ``(n, n)`` float64 rows of the other.
        exact_prices: ``(n,)`` float64, in units of the squared distances.
        p: ``(n,)`` int64.
    """
    n = len(p)
    net = np.empty(n, np.float32)
    bits = net.view(np.int32)
    total, size = 0.0, 0.0
    for i in range(n):
        net_costs(costs[i], prices, net)
        most = net[place_of_least(bits)] + slack
        own = squared_distance(first[i], second[p[i]])
        saved, largest = 0.0, own
        for j in range(n):
            dearer = exact_prices[j] - exact_prices[p[i]]
            if net[j] <= most and own + dearer > saved and j != p[i]:
                other = squared_distance(first[i], second[j])
                saved = max(saved, own - other + dearer)
                largest = max(largest, other)
        total += own - saved
        size += own + largest
    return total - 2.0**-52 * ((n + 4) * size + 4 * n * np.abs(exact_prices).max())
