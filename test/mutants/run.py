#!/usr/bin/env python3
"""Breaks the code one line at a time and wants a named test to turn red for it.

For each rule of the payload layer (docs/architecture.md, "Rules"), of the sandbox and of calls between workers
there is at least one mutant here. A mutant that no test notices means that the rule is not tested. Usage:
test/mutants/run.py [NAME ...]; --lines only looks whether each mutant's line is still there, once.

The tree is copied to build/mutants; nothing here is changed.
"""
import pathlib, subprocess, sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
WORK = TOP / "build" / "mutants"

# name, rule, file, the line as it is, the line broken, test binary, filter
MUTANTS = [
    ("ticker-spins", "1 other threads sleep while a guest runs", "src/worker/deadline_ticker.cc",
     "SleepUntil(deadline, deadline);", "SleepUntil(now + 20'000, deadline);",
     "worker_test", "DeadlineTickerTest.SleepsWhileTheDeadlineIsFar"),
    ("giver-keeps-its-view", "2 windows are restored", "src/buf/segment.cc",
     "if (from != staging_.Base()) {", "if (from == nullptr) {",
     "buf_test", "SegmentTest.ArrivesWithItsBytesAndLeavesZeros"),
    ("unmapped-hole", "2 no moment of an unmapped hole", "src/buf/page_mover.cc",
     "MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,", "MREMAP_MAYMOVE | MREMAP_FIXED,",
     "buf_test", "SegmentTest.NeverLeavesAHoleThatAnotherThreadsMmapCanTake"),
    ("mapping-budget-ignored", "3 refused before the first step", "src/buf/segment.cc",
     "if (!mapping_share.Held())", "if (false)",
     "buf_test", "SegmentBudgetTest.*"),
    ("failure-after-the-first-step-goes-on", "3 a failure after it ends the process", "src/buf/segment.cc",
     "if (auto fresh = MapPrivate(from, CapacityBytes()); !fresh)\n      EndDamagedProcess",
     "if (auto fresh = MapPrivate(from, CapacityBytes()); !fresh && from == nullptr)\n      EndDamagedProcess",
     "buf_test", "SegmentTest.EveryFailingMapping*"),
    ("hole-after-a-failed-move", "3 a failed step leaves no hole", "src/buf/segment.cc",
     "if (auto repaired = MapPrivate(window, CapacityBytes()); !repaired)",
     "if (auto repaired = Result<>(); !repaired)",
     "buf_test", "SegmentTest.EveryFailingMapping*"),
    ("former-bytes", "6 zero: always", "src/buf/segment_pool.cc",
     "if (zero == Zero::kAlways) std::memset(segment->Data(), 0, wanted);", "(void)zero;",
     "buf_test", "SegmentPoolTest.GivesZeros*"),
    ("trapped-instance-reused", "8 the callee's instance is destroyed", "src/worker/function.h",
     "!instance->IsSound() || spec_", "spec_",
     "worker_test", "*HostileGuestTest.ATrapIsReported*"),
    ("former-guests-bytes", "6 nothing of a former guest is in a memory", "src/buf/memory_pool.cc",
     "std::memset(at, 0, bytes);", "(void)bytes;",
     "buf_test", "GuestMemoryTest.GivesItsAddressSpace*"),
    ("former-guests-reach", "2 only pages below memory.size are accessible", "src/buf/memory_pool.cc",
     "if (region.accessible_bytes != 0 && !Reset(region, region.accessible_bytes)) return;",
     "if (region.accessible_bytes == SIZE_MAX && !Reset(region, region.accessible_bytes)) return;",
     "buf_test", "GuestMemoryTest.IsAsSmallAsNew*"),
    ("given-twice", "8 a given buffer is gone", "src/buf/guest_buffers.cc",
     "if (there) Erase(it);", "(void)it;",
     "buf_test", "*GuestBuffersTest.TransferHandsOver*"),
    ("no-memory-limit", "9 memory.grow gives -1 at the limit", "src/buf/guest_memory.cc",
     "own > shape_.limit_bytes", "own == SIZE_MAX",
     "worker_test", "*GrowingForEverStopsAtTheLimit*"),
    ("never-recycled", "10 recycle, never fault in the steady state", "src/buf/segment_pool.cc",
     "if (it->segment->CapacityBytes() != wanted) continue;", "if (it->segment->CapacityBytes() != wanted + 1) continue;",
     "buf_test", "SegmentPoolTest.RecyclesASegmentWithItsPages"),
    ("never-trimmed", "10 pools are trimmed when idle", "src/buf/segment_pool.cc",
     "while (!idle_.empty() && NextTrim() <= now) DropOldest();", "(void)now;",
     "buf_test", "SegmentPoolTest.Trims*"),
    ("inherited-by-a-fork", "10 segments are MADV_DONTFORK", "src/buf/page_mover.cc",
     "::madvise(at, size_bytes, MADV_DONTFORK) != 0 ||", "",
     "buf_test", "SegmentTest.IsNeitherInherited*"),
    ("moved-below-the-crossover", "11 short payloads are copied", "src/buf/payload.h",
     "return bytes >= ability_.crossover_bytes;", "return bytes >= 1;",
     "buf_test", "*PayloadTest.ReadsAndWritesFiles*:*GuestBuffersTest.*Copied"),
    ("kernel-assumed", "11 what the kernel can do is probed", "src/buf/page_mover.cc",
     "if (!ability.support.available) return ability;", "ability.support.available = true;",
     "buf_test", "MoveAbilityTest.*"),
    ("switch-ignored", "11 everything is copied where it must be", "src/buf/payload.cc",
     "if (options.policy == MovePolicy::kCopyAll)", "if (false)",
     "buf_test", "MoveAbilityTest.*"),
    ("leaves-unsealed", "4 nobody of another domain can write", "src/buf/segment.cc",
     "F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)", "F_SEAL_SEAL) != 0)",
     "buf_test", "EdgeSegmentTest.ItsTakerCanNeither*"),
    ("seals-can-be-added", "4 nobody of another domain can write", "src/buf/segment.cc",
     "F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)", "F_SEAL_FUTURE_WRITE) != 0)",
     "buf_test", "EdgeSegmentTest.IsSealedBefore*:EdgeSegmentTest.ItsTakerCanNeither*"),
    ("repair-needs-a-new-writer", "4 a sealed segment's giver loses nothing", "src/buf/segment.cc",
     "DuplicateShared(from, staging_.Base(), CapacityBytes())",
     "MapShared(staging_.Base(), CapacityBytes(), fd_.Get())",
     "buf_test", "EdgeSegmentTest.AFailedMoveBack*"),
    ("unsealed-is-accepted", "4 a taker accepts only what is sealed", "src/buf/memfd_check.cc",
     "kNoNewWriter = F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;", "kNoNewWriter = F_SEAL_SEAL;",
     "buf_test", "EdgeSegmentTest.ItsTakerAccepts*"),
    ("shrinkable-is-accepted", "4 what others send is of fixed size", "src/buf/memfd_check.cc",
     "kFixedSize = F_SEAL_SHRINK | F_SEAL_GROW;", "kFixedSize = F_SEAL_GROW;",
     "buf_test", "AdoptedSegmentTest.Refuses*"),
    ("any-file-is-accepted", "4 what others send is checked", "src/buf/memfd_check.cc",
     "system.f_type != TMPFS_MAGIC", "false",
     "buf_test", "AdoptedSegmentTest.Refuses*"),
    ("edge-serves-the-domain", "5 a segment of an edge is that edge's for ever", "src/buf/segment.cc",
     "CHECK(scope_ == Scope::kDomain);", "",
     "buf_test", "EdgeSegmentTest.NeverServes*"),
    ("buffer-of-another-pool", "5 a buffer is allocated for an edge", "src/buf/guest_buffers.cc",
     "SegmentRef segment, pool.Take(bytes, zero_)", "SegmentRef segment, (static_cast<void>(pool), payloads_.Pool().Take(bytes, zero_))",
     "buf_test", "EdgeSegmentTest.ItsTakersGuestGets*"),
    ("beyond-the-payload", "6 former bytes never cross domains", "src/buf/segment.cc",
     "ZeroFrom(bytes);", "(void)bytes;",
     "buf_test", "EdgeSegmentTest.BytesBeyond*"),
    ("never-given-is-seen", "6 former bytes never cross domains", "src/buf/segment_pool.cc",
     "segment->HideUndisclosed();", "",
     "buf_test", "EdgeSegmentTest.WhatWasWritten*"),
    ("view-writes-through", "7 views are private", "src/buf/page_mover.cc",
     "MAP_PRIVATE | MAP_NORESERVE, fd)", "MAP_SHARED | MAP_NORESERVE, fd)",
     "buf_test", "*SharedPayloadTest.EachGuestKeeps*"),
    ("view-not-scanned", "7 private pages are dropped before reuse", "src/buf/guest_buffers.cc",
     "    view.Clean(payloads_.Scanner());", "",
     "buf_test", "*SharedPayloadTest.WhatAGuestWrote*"),
    ("written-under-a-view", "7 nobody writes while a view lives", "src/buf/shared_payload.cc",
     "stored->handles != 0 || stored->views != 0 || !stored->keepers.empty()",
     "stored->handles != 0 || !stored->keepers.empty()",
     "buf_test", "*SharedPayloadTest.TheSegmentIsNotWritten*"),
    ("kept-view-pins", "7 a payload without uses goes home", "src/buf/shared_payload.cc",
     "if (stored->handles == 1) EndKeptViews(*stored);", "",
     "buf_test", "*SharedPayloadTest.AnEndedView*"),
    ("view-stays-in-its-window", "7 an ended view is gone", "src/buf/shared_payload.cc",
     "if (auto fresh = MapPrivate(window_, bytes_); !fresh)", "if (auto fresh = Result<>(); !fresh)",
     "buf_test", "*SharedPayloadTest.AnEndedView*"),
    ("writer-gets-views", "7 a callee that mostly writes gets a copy", "src/buf/view_history.h",
     "if (written_share_ <= kMaxWrittenShare) return Choice::kView;", "if (written_share_ <= 1) return Choice::kView;",
     "buf_test", "ViewHistoryTest.*:*SharedPayloadTest.ACalleeThatMostlyWrites*"),
    ("scan-of-the-wrong-process", "7 private pages are dropped before reuse", "src/buf/page_scan.cc",
     "|| process_ != ::getpid()", "|| process_ == 0",
     "buf_test", "PageScannerTest.DropsEverything*"),
    ("lent-one-recycled", "8 what others may still map is never recycled", "src/buf/segment_pool.cc",
     "std::exchange(home_, nullptr)->Abandon(std::move(segment_));",
     "std::exchange(home_, nullptr)->GiveBack(std::move(segment_));",
     "buf_test", "BorrowedSegmentTest.*"),
    ("foreign-bytes-unbounded", "9 foreign bytes are bounded", "src/buf/segment.cc",
     "if (!share.Held())", "if (false)",
     "buf_test", "AdoptedSegmentTest.CountsAgainst*"),
    ("deadline-not-restored", "8 a caller goes on after its callee's timeout", "src/worker/worker.cc",
     "if (changed_) ticker_.Set(before_);", "",
     "worker_test", "*AnEndlessLoopTimesOutAndItsCallerGoesOn*"),
    # The sandbox; as root, on a machine that allows all of it.
    ("filter-answers-instead-of-killing", "sandbox: a call off the list ends the worker", "src/sandbox/worker_filter.cc",
     "start ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ALLOW", "start ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW",
     "sandbox_test", "*EachCallOffTheList*"),
    ("any-clone", "sandbox: threads, never processes", "src/sandbox/worker_filter.cc",
     '{"clone", kAllow, {Is(0, kThreadFlags)}},', '{"clone", kAllow},',
     "sandbox_test", "*EachCallOffTheList*"),
    ("signals-anybody", "sandbox: signals reach only the own process", "src/sandbox/worker_filter.cc",
     '{"tgkill", kAllow, {Is(0, kOwnProcess)}},', '{"tgkill", kAllow}, {"getegid", kAllow, {Is(0, kOwnProcess)}},',
     "sandbox_test", "*EachCallOffTheList*"),
    ("no-second-filter", "sandbox: no more threads when serving", "src/sandbox/worker_filter.cc",
     '{"clone", SCMP_ACT_KILL_PROCESS},', '',
     "sandbox_test", "*AfterTheSecondStage*"),
    ("descriptors-kept", "sandbox: descriptors are closed", "src/sandbox/confinement.cc",
     "TRY(CloseOthers({all.begin(), end}));", "if (kept.empty()) TRY(CloseOthers({all.begin(), end}));",
     "sandbox_test", "*SeenFromOutside*"),
    ("environment-kept", "sandbox: the environment is wiped", "src/sandbox/confinement.cc",
     "::explicit_bzero(*entry, std::strlen(*entry));", "(void)std::strlen(*entry);",
     "sandbox_test", "*SeenFromOutside*"),
    ("groups-kept", "sandbox: another user and its groups", "src/sandbox/confinement.cc",
     "if (::setgroups(0, nullptr) != 0)", "if (false)",
     "sandbox_test", "*SeenFromOutside*Root*"),
    ("dumpable", "sandbox: other processes of the user cannot attach", "src/sandbox/confinement.cc",
     "if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)", "if (false)",
     "sandbox_test", "*SeenFromOutside*"),
    ("no-landlock", "sandbox: Landlock", "src/sandbox/confinement.cc",
     "TRY(EnterRuleset(ruleset));", "",
     "sandbox_test", "*ReachesNoAbstractAddress*"),
    ("old-root-reachable", "sandbox: the root is empty", "src/sandbox/isolation.cc",
     'if (::umount2(".", MNT_DETACH) != 0)', "if (false)",
     "sandbox_test", "*SeenFromOutside*:*ThereAreNoFiles*"),
    ("unlimited", "sandbox: limits hold", "src/sandbox/confinement.cc",
     "TRY(next_->Limit(limits));", "",
     "sandbox_test", "*AWorkerBeyondItsMemory*"),
    ("cgroups-left", "sandbox: nothing is left", "src/sandbox/confinement.cc",
     "cgroups_.LeaveWorkers();\n  next_.reset();\n}", "next_.reset();\n}",
     "sandbox_test", "*NothingIsLeft*"),
    ("living-subtree-removed", "sandbox: only what is abandoned is removed", "src/sandbox/cgroup.cc",
     "if (!folder.IsOpen() || ::flock(folder.Get(), LOCK_EX | LOCK_NB) != 0) continue;", "",
     "sandbox_test", "CgroupTest.WhatAKilledOwner*"),
    ("death-signal-lost", "sandbox: a worker dies with its zygote", "src/sandbox/confinement.cc",
     "if (death_signal != 0 &&", "if (death_signal == -1 &&",
     "sandbox_test", "*TheParentsDeathSignal*"),
    ("capabilities-kept", "sandbox: no capabilities", "src/sandbox/confinement.cc",
     "TRY(DropCapabilities());", "if (death_signal < 0) TRY(DropCapabilities());",
     "sandbox_test", "*SeenFromOutside*"),
    ("bounding-set-kept", "sandbox: no capabilities, ever", "src/sandbox/confinement.cc",
     "TRY(DropBoundingSet());", "if (facts_.size() == 99) TRY(DropBoundingSet());",
     "sandbox_test", "*SeenFromOutside*"),
    ("no-filter", "sandbox: system calls are filtered", "src/sandbox/confinement.cc",
     "TRY(InstallFilter(start_filter_, FilterStage::kStart));", "",
     "sandbox_test", "*EachCallOffTheList*"),
    ("page-map-left-behind", "sandbox: a worker can find what a view's guest wrote", "src/worker/zygote.cc",
     "worker.pagemap = std::move(entered.pagemap);", "",
     "host_test", "ZygoteTest.AWorkerHolds*"),
    ("load-left-behind", "sandbox: a worker can know of a crowd", "src/worker/zygote.cc",
     "worker.loadavg = std::move(entered.loadavg);", "",
     "host_test", "ZygoteTest.AWorkerHolds*"),
    ("scan-filtered", "sandbox: a worker can find what a view's guest wrote", "src/sandbox/worker_filter.cc",
     '{"ioctl", kAllow, {Is(1, kPagemapScan)}},', "",
     "worker_test", "*SandboxedTest.TheWrittenPages*"),
    # Calls between workers.
    ("record-read-twice", "channel: what the peer can write is read once", "src/ipc/ring.cc",
     "head_ += record_bytes_;", "head_ += static_cast<std::uint32_t>(WordAt(memory_.data, Offset(head_)).load());",
     "ipc_test", "RingTest.AHeaderIsACopy*"),
    ("record-beyond-the-tail", "channel: a record ends before the tail", "src/ipc/ring.cc",
     "bytes > to_end || bytes > available) {", "bytes > to_end) {",
     "ipc_test", "RingTest.EveryLieOfAProducer*"),
    ("tail-too-far", "channel: positions are checked", "src/ipc/ring.cc",
     "if (tail - head_ > kRingBytes || tail % kRecordAlignment != 0) {", "if (tail % kRecordAlignment != 0) {",
     "ipc_test", "RingTest.EveryLieOfAProducer*"),
    ("payload-longer-than-its-segment", "channel: a payload lies in its segment", "src/ipc/slot_table.cc",
     "return IsKnown(slot) && !slots_[slot].lent && payload_bytes <= Units(slot) * kSegmentUnitBytes;",
     "return IsKnown(slot) && !slots_[slot].lent && payload_bytes <= SIZE_MAX;",
     "ipc_test", "SlotTableTest.*:HostileCallerTest.EveryLie*"),
    ("announced-twice", "channel: a slot is announced once", "src/ipc/slot_table.cc",
     "units > kMaxSegmentUnits || IsKnown(slot) ||", "units > kMaxSegmentUnits ||",
     "ipc_test", "SlotTableTest.*:HostileCallerTest.EveryLie*"),
    ("answer-to-no-call", "channel: one answer for each call", "src/ipc/channel.cc",
     "if (record.type == RecordType::kReply && !TakeUnanswered(record.call_id)) {",
     "if (record.type == RecordType::kReply && !TakeUnanswered(record.call_id) && failed_) {",
     "ipc_test", "ChannelTest.ACalleeThatAnswersTwice*"),
    ("lent-one-taken-back", "8 a lent segment is not used before the answer", "src/worker/peers_call.cc",
     'outcome = tl::unexpected(LocalError(CallClass::kTimeout, true, "no answer by the deadline"));',
     'outcome = tl::unexpected(LocalError(CallClass::kTimeout, true, "no answer by the deadline"));\n'
     "      if (flight.pending.gave != nullptr) { const auto back = link.TakeLent(*flight.pending.gave); }",
     "worker_test", "PeersLifeTest.AChannelOverWhich*"),
    ("lent-one-recycled-after-its-link", "8 what a peer may still map is never recycled", "src/worker/peer_link.cc",
     "    lending.segment.Abandon();\n    if", "    lending.segment = {};\n    if",
     "worker_test", "PeersLifeTest.AChannelOverWhich*"),
    ("forwarded-one-sent-home", "8 what was forwarded to a dead worker does not go home", "src/worker/peer_link.cc",
     "  --borrowed_;\n  lost_bytes_ +=", "  return GiveBack(std::move(segment));\n  lost_bytes_ +=",
     "worker_test", "PeersLifeTest.AChannelOverWhich*"),
    ("lost-without-bound", "8 what is lost to others is bounded", "src/worker/peers.cc",
     "link->link->LostBytes() <= PeerLink::kMaxLostBytes", "link->link->LostBytes() <= SIZE_MAX",
     "worker_test", "PeersLifeTest.AChannelOverWhich*"),
    ("foreign-reply-in-our-segment", "4 no page of a guest is writable by another domain", "src/worker/peer_link.cc",
     'if (!SameDomain()) return "a payload of another trust domain in a segment of ours";', "",
     "worker_test", "PeersHostileTest.APeerOfAnotherDomainCannot*"),
    ("written-by-a-reader", "7 nobody writes a broadcast payload while somebody reads it", "src/worker/peer_link.cc",
     "lending != lent_.end() && lending->second.shared)", "lending != lent_.end() && !lending->second.segment && false)",
     "worker_test", "PeersShareTest.AReaderThatSendsItBack*"),
    ("readers-segment-taken", "7 nobody writes a broadcast payload while somebody reads it", "src/buf/shared_payload.cc",
     "stored_->from != From::kHere)", "stored_->handles == 0)",
     "worker_test", "ValueTest.ASegmentOfAnotherWorker*:PeersShareTest.SeveralWorkers*"),
    ("lost-readers-segment-reused", "8 what a lost worker may have mapped is not used again", "src/buf/shared_payload.cc",
     "if (stored->abandoned) stored->payload.ReleaseSegment().Abandon();", "",
     "worker_test", "ValueTest.WhatALostWorker*:PeersShareTest.AKilledReader*"),
    ("broadcast-copied", "7 stored once", "src/worker/peer_link.cc",
     "    return SendShared(record, *outgoing.shared);\n", "    {}\n",
     "worker_test", "PeersShareTest.SeveralWorkers*"),
    ("edge-buffer-into-the-domain", "5 a segment of an edge belongs to it for ever", "src/buf/guest_buffers.cc",
     "!CanMove(it->second, bytes) || !IsOfDomain(it->second.segment))", "!CanMove(it->second, bytes))",
     "worker_test", "*PeersEdgeTest.GivenElsewhere*"),
    ("foreign-value-taken", "values stay within their trust domain", "src/worker/peers.cc",
     "if (link.relation != ipc::Relation::kSameDomain) {", "if (false) {",
     "worker_test", "PeersHostileTest.APeerOfAnotherDomainGives*"),
    ("any-segment-returned", "channel: a reply returns the segment of its call", "src/worker/peer_link.cc",
     "if (reply.returned_slot && *reply.returned_slot != slot)",
     "if (reply.returned_slot && *reply.returned_slot != slot && failed_)",
     "worker_test", "PeersHostileTest.AnotherSegmentThan*"),
    ("callee-serves-anything", "a callee serves what its caller may call", "src/worker/peers.cc",
     "else if (std::ranges::find(link.functions, call.function) == link.functions.end())", "else if (false)",
     "worker_test", "*PeersFaultTest.ARefusedCall*"),
    ("peers-deadline-ignored", "a call ends by its caller's deadline", "src/worker/worker.cc",
     "peer.deadline = std::min(peer.deadline, DeadlineAfter(now, function.Spec().timeout));",
     "peer.deadline = DeadlineAfter(now, function.Spec().timeout);",
     "worker_test", "*PeersFaultTest.ACalleeStopsAt*"),
    ("starved-guest-is-ended", "a guest that gets no processor has not overrun", "src/worker/deadline_ticker.cc",
     "(ran || interrupts > kMostInterrupts)", "(ran || interrupts > 20)",
     "worker_test", "DeadlineTickerTest.AGuestThatDoesNotRun*"),
    ("hosts-work-is-the-guests", "what a host call takes is not the guest's", "src/worker/deadline_ticker.cc",
     "const bool in_guest = crossings % 2 == 1;", "const bool in_guest = true;",
     "worker_test", "DeadlineTickerTest.TheHostsWork*"),
    ("short-reply-over-the-limit", "no payload is over the limit", "src/worker/worker.cc",
     "length > payloads_.MaxPayloadBytes()) [[unlikely]]", "false) [[unlikely]]",
     "worker_test", "PayloadLimitTest.*"),
    ("asks-again-and-again", "introductions: a Want is asked once", "src/worker/peers_call.cc",
     "if (want.function != remote.number || want.worker_kind != worker || want.awaited) continue;", "continue;",
     "worker_test", "PeersIntroductionTest.AFunctionThatWasNotFound*"),
    ("wants-unbounded", "introductions: at most 64 Wants are unanswered", "src/worker/peers_call.cc",
     "if (wants_.size() >= ipc::kMaxWants)", "if (false)",
     "worker_test", "PeersIntroductionTest.MoreWants*"),
    ("ended-channel-not-told", "introductions: a pair whose channel ended meets again", "src/worker/peers.cc",
     "if (link.role == ipc::PeerRole::kCaller && introductions_) {", "if (false) {",
     "worker_test", "PeersIntroductionTest.AChannelThatEnds*"),
    ("met-for-ever", "introductions: a pair whose channel ended meets again", "src/host/introducer.cc",
     "if (met_.erase({caller, callee}) == 0) return;", "if (!met_.contains({caller, callee}) || true) return;",
     "host_test", "IntroducerTest.APairWhoseChannel*"),
    ("policy-ignored", "introductions: policy decides who meets", "src/host/introducer.cc",
     "if (!hooks_.may_call(caller.member, want.function_id))", "if (false)",
     "host_test", "IntroducerTest.PolicyDenies*"),
    ("local-edge-shares", "modes of an edge: only local", "src/workflow/sharing.cc",
     "if (has_number[other]) taken.insert", "if (!has_number[other]) taken.insert",
     "workflow_test", "SharingTest.*"),
    ("what-stays-goes", "modes of an edge: only embedded", "src/workflow/scheduler.cc",
     "if (worker != 0) {\n    workers_.at(worker).bound", "if (worker == UINT32_MAX) {\n    workers_.at(worker).bound",
     "workflow_test", "SchedulerTest.*"),
    ("started-calls-queue", "started calls go to as many workers as there may be", "src/worker/peers_call.cc",
     "if (spread && known->Unanswered() != 0", "if (!spread && known->Unanswered() != 0",
     "worker_test", "PeersSpreadTest.*"),
    ("called-before-loaded", "a worker called first by another loads the function", "src/worker/worker.cc",
     "if (load_missing_) {\n    if (FastNow()", "if (load_missing_ && number == UINT32_MAX) {\n    if (FastNow()",
     "integration_test", "WorkersTest.CallsThatAGuest*"),
]


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, **more)


def copy_tree():
    WORK.mkdir(parents=True, exist_ok=True)
    names = run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, check=True).stdout.split("\n")
    for name in names:
        source, target = TOP / name, WORK / name
        if not name or not source.is_file():
            continue
        text = source.read_bytes()
        if not target.exists() or target.read_bytes() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
            target.chmod(source.stat().st_mode)


def build_and_test(binary, pattern):
    """None if it does not build, else the test's exit code; at least one test must have run."""
    built = run(["cmake", "--build", "--preset", "dev", "--target", binary], cwd=WORK)
    if built.returncode != 0:
        return None, built.stdout[-3000:]
    tested = run([str(WORK / "build/dev/bin" / binary), "--gtest_filter=" + pattern, "--gtest_brief=1"], timeout=300)
    if " 0 tests from" in tested.stdout:
        return None, "no test matches " + pattern
    return tested.returncode, tested.stdout[-3000:] + tested.stderr[-1000:]


def check_lines():
    stale = [f"{name}: {file} has its line {n} times; mend the mutant"
             for name, _, file, old, *_ in MUTANTS if (n := (TOP / file).read_text().count(old)) != 1]
    print("\n".join(stale) if stale else f"mutants: {len(MUTANTS)} lines found")
    sys.exit(bool(stale))


def main():
    wanted = sys.argv[1:]
    if wanted == ["--lines"]:
        check_lines()
    unknown = set(wanted) - {m[0] for m in MUTANTS}
    if unknown:
        sys.exit(f"mutants: no mutant is named {', '.join(sorted(unknown))}")
    chosen = [m for m in MUTANTS if not wanted or m[0] in wanted]
    copy_tree()
    run(["cmake", "--preset", "dev"], cwd=WORK, check=True)
    failed = []
    for binary in sorted({m[5] for m in chosen}):
        pattern = ":".join(sorted({m[6] for m in chosen if m[5] == binary}))
        code, text = build_and_test(binary, pattern)
        if code != 0:
            sys.exit(f"mutants: {binary} is red before anything was broken\n{text}")
    for name, rule, file, old, new, binary, pattern in chosen:
        path = WORK / file
        text = path.read_text()
        if text.count(old) != 1:
            failed.append(name)
            print(f"{name}: {file} has the line {text.count(old)} times; mend the mutant")
            continue
        path.write_text(text.replace(old, new))
        code, output = build_and_test(binary, pattern)
        path.write_text(text)
        if code is None:
            failed.append(name)
            print(f"{name}: does not build\n{output}")
        elif code == 0:
            failed.append(name)
            print(f"{name}: SURVIVED (rule {rule}; {pattern})")
        else:
            print(f"{name}: red, as it should be (rule {rule}; {binary} {pattern})")
        sys.stdout.flush()
    print(f"mutants: {len(chosen) - len(failed)} of {len(chosen)} noticed")
    sys.exit(bool(failed))


main()
