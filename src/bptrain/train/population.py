"""Population: networks that differ in numbers alone, trained as one program over their stacked tensors.

The step of one network, vmapped: https://docs.pytorch.org/tutorials/intermediate/ensembling.html. What belongs to one
member is a part of the stack, so that evaluation, checkpoints and checks see an ordinary run.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from statistics import median

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_unflatten

from bptrain import interrupts
from bptrain.errors import BptrainError
from bptrain.train.decisions import Decisions
from bptrain.train.fit import check, due, end_epoch, fault, finish
from bptrain.train.member import Member
from bptrain.train.order import batches
from bptrain.train.program import Program
from bptrain.train.record import Chosen, Record, Stepped
from bptrain.train.step import Lasting, Passing, flat

WARM, CALLS = 2, 6  # calls of a program that are not timed, and all before it is decided whether to compile it
PAUSE = 1.0  # seconds after which members hear of their steps, though the epoch goes on
Event = tuple[Member, Record | BptrainError]
Events = Iterator[Event]
Rows = list[Tensor]  # of each batch of a step, the rows of each seat (seats, B)


Programs = dict[tuple[int, int, tuple[int, ...]], Program]  # by seats, rows of data, and sizes of the batches


class Population:
    """Members whose tensors have the same shapes, in an epoch each the same one.

    `inputs` and `targets` are the training parts of all, one after the other. A member that is through leaves its
    seat; the program goes on with the seat, and one for fewer is made when half of them are empty. `programs` are those
    that populations of the same kind have made before, and is added to; so many `share` them, this one counted. What
    time decides goes to `decisions`: with those of the same members before, and no programs, the bits are the same.
    """

    def __init__(
        self,
        members: Sequence[Member],
        inputs: Tensor,
        targets: Tensor,
        programs: Programs,
        share: int = 1,
        decisions: Decisions | None = None,
    ) -> None:
        self.share, self.decisions = share, Decisions() if decisions is None else decisions
        self.members, self.inputs, self.targets = list(members), inputs, targets
        self.programs, self.turns = programs, False
        self.fixed = members[0].run.settings.fit.deterministic  # nothing that is measured decides
        self._stack()
        self.chosen: Chosen | None = None

    def _stack(self) -> None:
        """Seats the members; their tensors become parts of the stacked ones."""
        self.seats = {member.number: seat for seat, member in enumerate(self.members)}
        self.size = len(self.members)
        each = [member.tensors() for member in self.members]
        self.tensors = [torch.stack([tensor.detach() for tensor in of]) for of in zip(*each, strict=True)]
        for seat, tensors in enumerate(each):
            for tensor, stacked in zip(tensors, self.tensors, strict=True):
                tensor.data = stacked[seat]
        self.lasting: Lasting = tree_unflatten(self.tensors, self.members[0].spec)
        self.times: dict[tuple[tuple[int, ...], bool], list[float]] = {}

    def fit(self) -> Events:
        """As `bptrain.train.fit` of each member; an error is the end of one, and touches no other."""
        epoch, chosen = 0, Chosen(0, "population", f"{self.size} networks stacked", {})
        for member in self.members:
            yield member, chosen  # before any checkpoint, so that none goes on alone without its being said
        while self.members:
            yield from self._epoch(epoch)
            epoch += 1
            if self.members and 2 * len(self.members) <= self.size:
                self._stack()

    def _epoch(self, epoch: int) -> Events:
        steps = self._rows(epoch)
        measured = max(member.health.due(epoch) for member in self.members)
        numbers = self._numbers(len(steps))
        self.pending, heard = 0, time.perf_counter()
        total = self.tensors[0].new_zeros(self.size)
        for number, (rows, of_step) in enumerate(zip(steps, numbers, strict=True)):
            for member in self.members if not self.pending else ():
                member.run.state.current = False
            if number == measured:
                before = [w.clone() for w in self.lasting.trained]
            step = self.members[0].run.state.step + self.pending
            if checked := [member for member in self.members if due(member.run, step)]:
                yield from self._flush(total)
                total = total + (yield from self._check(checked, rows, of_step))
                if not self.members:
                    return
            else:
                total = total + self._make(rows, of_step, step)
            if number == measured:
                self._measure(epoch, before)
            self.pending, self.last = self.pending + 1, sum(r.shape[1] for r in rows)
            every = [m.run.settings.fit.checkpoint.every for m in self.members]
            if time.perf_counter() - heard > PAUSE or any(isinstance(e, int) and (step + 1) % e == 0 for e in every):
                yield from self._flush(total)
                heard = time.perf_counter()
            if interrupts.asked():
                yield from self._flush(total)
        yield from self._flush(total)
        for member in list(self.members):
            yield from self._end_epoch(member, total[self.seats[member.number]] / len(steps))

    def _measure(self, epoch: int, before: list[Tensor]) -> None:
        """The figures of a step for the health of all, from what the trained parameters were before it."""
        trained, gradients, *_ = self.lasting
        torch._foreach_sub_(before, trained)
        norms = [torch.linalg.vector_norm(x.reshape(self.size, -1), dim=1) for x in (*trained, *before, *gradients)]
        figures = torch.stack(norms, 1)  # (seats, 3 P)
        for member in self.members:
            if member.health.due(epoch) >= 0:
                member.health.measured(figures[self.seats[member.number]])

    def _flush(self, total: Tensor) -> Events:
        """Counts the steps that are pending, and tells each member of them."""
        pending, self.pending = self.pending, 0
        if not pending:
            return
        for member in self.members:
            state = member.run.state
            state.step, state.within = state.step + pending, state.within + pending
            state.schedule.step(pending)
            state.lr, state.total = state.schedule.due(state.step - 1)[0], total[self.seats[member.number]]
            state.current = True
        for member in self.members:
            state, loss = member.run.state, total[self.seats[member.number]]
            batch = member.run.batch_size * member.run.settings.fit.accumulate
            rows = (pending - 1) * batch + self.last
            yield member, Stepped(state.epoch + 1, state.step, rows, loss, state.lr)
        if self.chosen is not None:
            for member in self.members:
                yield member, self.chosen
            self.chosen = None

    def _end_epoch(self, member: Member, loss: Tensor) -> Events:
        state = member.run.state
        torch.set_rng_state(state.generator.get_state())  # what is drawn in an evaluation is drawn from there
        try:
            evaluated, early = end_epoch(member.run, loss, member.health)
            state.current = True
            if evaluated is not None:
                yield member, evaluated
            if early or state.epoch == member.run.settings.fit.epochs:
                self._leave(member)
                yield member, finish(member.run, early)
        except BptrainError as error:
            if member in self.members:
                self._leave(member)
            yield member, error

    def _leave(self, member: Member) -> None:
        self.members.remove(member)
        member.leave()

    def _rows(self, epoch: int) -> list[Rows]:
        """The steps of an epoch. An empty seat goes on with rows of another."""
        orders = {member.number: member.order(epoch) for member in self.members}
        fit, run = self.members[0].run.settings.fit, self.members[0].run
        some = next(iter(orders.values()))
        order = torch.stack([orders.get(number, some) for number in self.seats], 1)  # (N, seats)
        cut = [rows.T.contiguous() for rows in batches(order, run.batch_size, fit.drop_last)]  # (seats, B)
        return [cut[i : i + fit.accumulate] for i in range(0, len(cut), fit.accumulate)]

    def _numbers(self, steps: int) -> Tensor:
        """The numbers of the steps to come, those of each as in Passing (steps, seats, n)."""
        taken = {member.number: member for member in self.members}
        seated = [taken.get(number, self.members[0]) for number in self.seats]
        first = seated[0].run.state.step
        rates = [[m.run.state.schedule.due(first + i)[0] for m in seated] for i in range(steps)]
        group = {key: _column([m.group[key] for m in seated]) for key in seated[0].group if key != "params"}
        group["lr"] = torch.tensor(rates, dtype=torch.float64)  # (steps, seats)
        count = torch.arange(first + 1, first + steps + 1, dtype=torch.float64)[:, None]
        smoothing = _column([m.smoothing for m in seated])
        clip = _column([m.run.settings.fit.clip or 0.0 for m in seated])
        numbers = [*seated[0].update.numbers(group, count), smoothing, clip]
        return torch.stack([n.expand(steps, self.size) for n in numbers], -1).to(self.tensors[0].dtype)

    def _make(self, rows: Rows, numbers: Tensor, step: int) -> Tensor:
        """Makes a step of all; the mean losses (seats,)."""
        if self.turns:
            return self._take_turns(rows, step)
        sizes = tuple(r.shape[1] for r in rows)
        noise = self._noise(sizes)
        program = self.programs.get((self.size, len(self.inputs), sizes))
        if program is None:
            program = self._trace(sizes, Passing(self.inputs, self.targets, rows, numbers, noise))
        if not any(of == sizes for of, _ in self.times):  # its first call here
            self.decisions.begin(program)
        start = time.perf_counter()
        (losses,) = program.run([self.inputs, self.targets, *rows, numbers, *noise, *self.tensors])
        times = self.times.setdefault((sizes, program.compiled), [])
        if len(times) < CALLS and not self.fixed:
            times.append(time.perf_counter() - start)
            if len(times) == CALLS:
                self._decide(program, sizes, median(times[WARM:]), rows, step)
        return losses

    def _take_turns(self, rows: Rows, step: int) -> Tensor:
        """A step of each network by itself."""
        losses = self.tensors[0].new_zeros(self.size)
        for member in self.members:
            seat = self.seats[member.number]
            losses[seat] = member.take([r[seat] - member.offset for r in rows], step)
        return losses

    def _noise(self, sizes: tuple[int, ...]) -> list[Tensor]:
        """What the networks draw at random, each from its own generator (seats, ...)."""
        drawn = {member.number: member.draw(sizes) for member in self.members}
        some = next(iter(drawn.values()))
        return [torch.stack(of) for of in zip(*(drawn.get(number, some) for number in self.seats), strict=True)]

    def _trace(self, sizes: tuple[int, ...], passing: Passing) -> Program:
        step, spec = self.members[0].step(sizes), self.members[0].spec
        each = vmap(step, (Passing(None, None, 0, 0, 0), Lasting(0, 0, 0, 0, 0)))  # type: ignore[arg-type]
        program = Program(*flat(each, passing, tree_unflatten(self.tensors, spec)))
        self.programs[self.size, len(self.inputs), sizes] = program
        return program

    def _decide(self, program: Program, sizes: tuple[int, ...], seconds: float, rows: Rows, step: int) -> None:
        """Has a program compiled where that pays in the calls that are left, here and in populations to come.

        Where a stacked step then takes longer than those of the networks one by one, they take turns from now on.
        """
        run, member = max((m.run for m in self.members), key=lambda run: run.total_steps), self.members[0]
        whole = sizes == member.sizes
        calls = run.total_steps if whole else run.settings.fit.epochs
        left = calls * self.share * seconds * (1 - step / run.total_steps)
        own = [r[self.seats[member.number]] - member.offset for r in rows]
        figures = {"stacked": seconds / self.size}
        alone = (lambda: member.seconds(own, CALLS)) if whole else None
        self.turns, how = self.decisions.decide(program, left, figures, alone)
        if how:
            self.chosen = Chosen(step + 1, "population", f"{self.size} networks stacked{how}", figures)

    def _check(self, checked: list[Member], rows: Rows, numbers: Tensor) -> Generator[Event, None, Tensor]:
        """Makes a step of all, and compares that of some with the reference; the mean losses (seats,)."""
        before = [tensor.clone() for tensor in self.tensors]
        states = {member.number: member.run.state.generator.get_state() for member in checked}
        losses = self._make(rows, numbers, self.members[0].run.state.step)
        after = [tensor.clone() for tensor in self.tensors]
        for member in checked:
            seat = self.seats[member.number]
            self._put(before, seat)
            torch.set_rng_state(states[member.number])
            own = [r[seat] - member.offset for r in rows]

            def make(_: object, seat: int = seat) -> Tensor:
                self._put(after, seat)
                return losses[seat]

            found = check(member.run, own, make, compiled=True)
            yield member, found
            if not found.report.ok or not found.report.finite:
                self._leave(member)
                yield member, fault(found)
        return losses

    def _put(self, tensors: list[Tensor], seat: int) -> None:
        for tensor, other in zip(self.tensors, tensors, strict=True):
            tensor[seat].copy_(other[seat])


def _column(values: Sequence) -> object:
    """Options of each member as one: numbers as float64 (seats,), pairs of numbers as pairs of these; or the first."""
    if isinstance(values[0], tuple):
        return tuple(_column(of) for of in zip(*values, strict=True))
    if isinstance(values[0], (bool, str, type(None))):
        return values[0]
    return torch.tensor(values, dtype=torch.float64)
