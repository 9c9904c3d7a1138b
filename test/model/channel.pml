/* Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
 *
 * Two workers and the channel between them (docs/protocols/channel.md): both rings, sleeping and
 * waking up, who has which segment, the slots by which segments are named, and the death of the
 * callee at any point.
 *
 * Checked by spin (test/model/run.sh):
 *   no deadlock and no lost wake-up: nobody has a deadline here, so who is not woken sleeps for
 *     ever, which is an invalid end state;
 *   never two owners of a segment, and none comes back from the dead (assertions);
 *   records arrive once and in order (assertions);
 *   both ends mean the same segment by a slot, and none is announced that is known (assertions).
 *
 * A segment is announced by a packet, over the socket, and forgotten by a record. The protocol lets
 * the callee read packets whenever it likes; ours reads them when a record names a slot that it does
 * not know. One segment of the caller's is forgotten, at any moment when it is at home; the slot
 * then gets another one, its second generation.
 *
 * Steps are in one order for all, as sequentially consistent accesses are. What is not shared, and
 * the ring's bytes, which are only read after the tail that publishes them, go with the shared access
 * of their step.
 *
 * Seeded bugs:
 *   -DNO_RECHECK        sleeps without looking again once the flag is set (the look is the kernel's
 *                       comparison, in one step with falling asleep)
 *   -DEARLY_REUSE       a cancelled call's segment is taken back before the call is answered
 *   -DWRITE_AFTER_GIVE  the giver writes once more after it published the record
 *   -DCHANGER_CLEARS    who wakes clears the sleeper's flag (a bug that this model found)
 *   -DREUSE_UNHEARD     a slot is announced anew before the peer has released the FORGET
 */

#define N 2        /* records in a ring */
#define CALLS 3
#define SEGMENTS 2  /* a slot each */
#define FORGETS 1
#define NONE 255

mtype = { REPLY, RETURN, CALL, FORGET };

/* The socket: slot and generation. As many as are ever announced. */
chan packets = [SEGMENTS + FORGETS] of { byte, byte };

/* The words that somebody waits for, and the flags of who sleeps on them. */
#define REQUEST_TAIL 0  /* callee waits */
#define REQUEST_HEAD 1  /* caller waits */
#define REPLY_TAIL 2    /* caller waits */
#define REPLY_HEAD 3    /* callee waits */
#define DOORBELL 4      /* caller waits */
#define WORDS 5
byte word[WORDS];
bool flag[WORDS];

/* The generation is not in a real record: it is what the sender means by the slot. */
typedef Record { mtype type; byte call; byte segment; byte generation; bool returns };
Record request[N];
Record reply[N];

#define CALLER 0
#define CALLEE 1
bool asleep[2];

bool caller_has[SEGMENTS];
bool callee_has[SEGMENTS];
bool killed = false;
bool dead = false;

/* The slot is announced, or may be: the peer has released the record that forgot it. */
#ifndef REUSE_UNHEARD
#define MAY_ANNOUNCE(s) (announced[s] || word[REQUEST_HEAD] >= forgotten_end[s])
#else
#define MAY_ANNOUNCE(s) (true)
#endif

#define WAITER(w) ((w) == REQUEST_TAIL || (w) == REPLY_HEAD -> CALLEE : CALLER)

/* wait_word.h, WakeIfSleeping: after the word was changed. A process that sleeps, sleeps on all its
 * words. */
inline wake_if_sleeping(w) {
  if
#ifdef CHANGER_CLEARS
  :: atomic { flag[w] -> flag[w] = false }; asleep[WAITER(w)] = false
#else
  :: atomic { flag[w] -> skip }; asleep[WAITER(w)] = false
#endif
  :: atomic { !flag[w] -> skip }
  fi
}

/* What the callee has been told: the generation that it knows by each slot, or 0. */
byte known[SEGMENTS];

inline read_packet(slot, generation) {
  packets?slot, generation;
  assert(known[slot] == 0);
  known[slot] = generation
}

active proctype Caller() {
  byte sent = 0, answered = 0, s = 0, i = 0, forgets = 0;
  byte generation[SEGMENTS];        /* of the slot's segment */
  bool announced[SEGMENTS];
  byte forgotten_end[SEGMENTS];     /* where the FORGET's record ends; until then the slot rests */
  byte head = 0, believed_head = 0, rings = 0;   /* own position, and what was believed */
  byte segment_of[CALLS];
  bool lent[SEGMENTS];
  bool alive = true, no_room = false;

  s = 0;
  do
  :: s < SEGMENTS -> caller_has[s] = true; generation[s] = 1; s++
  :: else -> break
  od;

  do
  :: alive && answered == CALLS && !lent[0] && !lent[1] -> break

  :: atomic { word[REPLY_TAIL] != head ->        /* receive */
     i = head % N;
     if
     :: reply[i].type == REPLY ->
        assert(reply[i].call == answered);
        s = segment_of[answered];
        answered++
     :: reply[i].type == RETURN -> s = reply[i].segment
     fi;
     if
     :: reply[i].returns ->
        assert(lent[s]);
        lent[s] = false;
        caller_has[s] = true;
        assert(!callee_has[s])
     :: else
     fi;
     i = 0; s = 0;
     head++;
     word[REPLY_HEAD]++ };
     wake_if_sleeping(REPLY_HEAD)

  :: atomic { alive && sent < CALLS && !no_room ->  /* send */
     if
     :: word[REQUEST_TAIL] - believed_head == N -> believed_head = word[REQUEST_HEAD]
     :: else
     fi;
     if
     :: word[REQUEST_TAIL] - believed_head == N -> no_room = true; goto next
     :: else
     fi;
     /* With a segment that is at home, or without. */
     if
     :: !lent[0] && MAY_ANNOUNCE(0) -> s = 0
     :: !lent[1] && MAY_ANNOUNCE(1) -> s = 1
     :: s = NONE
     fi;
     if
     :: s != NONE && !announced[s] -> packets!s, generation[s]; announced[s] = true
     :: else
     fi;
     if
     :: s != NONE ->
        request[word[REQUEST_TAIL] % N].generation = generation[s];
        assert(caller_has[s]);
        lent[s] = true;
#ifndef WRITE_AFTER_GIVE
        caller_has[s] = false
#endif
     :: else
     fi;
     segment_of[sent] = s;
     request[word[REQUEST_TAIL] % N].type = CALL;
     request[word[REQUEST_TAIL] % N].call = sent;
     request[word[REQUEST_TAIL] % N].segment = s;
     sent++;
     word[REQUEST_TAIL]++ };
     wake_if_sleeping(REQUEST_TAIL);
#ifdef WRITE_AFTER_GIVE
     if
     :: s != NONE -> assert(!callee_has[s]); caller_has[s] = false
     :: else
     fi;
#endif
next:
     s = 0

  :: atomic { alive && forgets < FORGETS && announced[0] && !lent[0] &&  /* forget */
     word[REQUEST_TAIL] - believed_head < N ->
     forgets++;
     announced[0] = false;
     generation[0]++;
     request[word[REQUEST_TAIL] % N].type = FORGET;
     request[word[REQUEST_TAIL] % N].segment = 0;
     request[word[REQUEST_TAIL] % N].call = 0;
     request[word[REQUEST_TAIL] % N].generation = 0;
     word[REQUEST_TAIL]++;
     forgotten_end[0] = word[REQUEST_TAIL] };
     wake_if_sleeping(REQUEST_TAIL)

#ifdef EARLY_REUSE
  :: alive && answered < sent ->  /* the oldest call is cancelled */
     s = segment_of[answered];
     if
     :: s != NONE && lent[s] -> lent[s] = false; caller_has[s] = true; assert(!callee_has[s])
     :: else
     fi;
     s = 0
#endif

  :: word[DOORBELL] != rings -> rings = word[DOORBELL]; alive = !dead

  :: !alive && word[REPLY_TAIL] == head -> break

  :: word[REPLY_TAIL] == head && alive && (sent == CALLS || no_room) &&
     (answered < CALLS || lent[0] || lent[1]) ->  /* wait_set.cc, Sleep */
     flag[REPLY_TAIL] = true;
     flag[REQUEST_HEAD] = true;
     flag[DOORBELL] = true;
     atomic {
#ifndef NO_RECHECK
       if
       :: word[REPLY_TAIL] == head && word[DOORBELL] == rings &&
          (!no_room || word[REQUEST_HEAD] == believed_head) -> asleep[CALLER] = true
       :: else
       fi
#else
       asleep[CALLER] = true
#endif
     };
     !asleep[CALLER];
     flag[REPLY_TAIL] = false;
     flag[REQUEST_HEAD] = false;
     flag[DOORBELL] = false;
     no_room = false
  od;

  /* The channel ends. What is lent then is destroyed, never used again. */
  s = 0;
  do
  :: s < SEGMENTS -> assert(!lent[s] || !caller_has[s]); s++
  :: else -> break
  od;
  assert(!alive || answered == CALLS)
}

active proctype Callee() {
  byte head = 0, believed_head = 0, call = 0, s = 0, slot = 0, generation = 0;
  bool due = false, no_room = false, is_return = false, returns = false;
  bool retained[SEGMENTS];

  {
    do
    :: atomic { nempty(packets) -> read_packet(slot, generation); slot = 0; generation = 0 }

    :: atomic { !due && word[REQUEST_TAIL] != head && request[head % N].type == FORGET ->
       assert(known[request[head % N].segment] != 0 && !callee_has[request[head % N].segment]);
       known[request[head % N].segment] = 0;
       head++;
       word[REQUEST_HEAD]++ };
       wake_if_sleeping(REQUEST_HEAD)

    :: atomic { !due && word[REQUEST_TAIL] != head && request[head % N].type == CALL ->  /* run */
       assert(request[head % N].call == call);
       s = request[head % N].segment;
       if
       :: s != NONE ->
          do
          :: known[s] != 0 -> break
          :: else -> assert(nempty(packets)); read_packet(slot, generation)
          od;
          slot = 0; generation = 0;
          assert(known[s] == request[head % N].generation);
          callee_has[s] = true;
          assert(!caller_has[s])
       :: else
       fi;
       head++;
       due = true;
       is_return = false;
       if
       :: s != NONE -> returns = true
       :: s != NONE -> returns = false; retained[s] = true
       :: s == NONE -> returns = false
       fi;
       word[REQUEST_HEAD]++ };
       wake_if_sleeping(REQUEST_HEAD)

    :: atomic { !due && retained[0] -> s = 0; due = true; is_return = true; returns = true; retained[0] = false }
    :: atomic { !due && retained[1] -> s = 1; due = true; is_return = true; returns = true; retained[1] = false }

    :: atomic { due && !no_room ->                /* answer, or return what was retained */
       if
       :: word[REPLY_TAIL] - believed_head == N -> believed_head = word[REPLY_HEAD]
       :: else
       fi;
       if
       :: word[REPLY_TAIL] - believed_head == N -> no_room = true; goto next
       :: else
       fi;
       if
       :: returns -> callee_has[s] = false
       :: else
       fi;
       reply[word[REPLY_TAIL] % N].type = (is_return -> RETURN : REPLY);
       reply[word[REPLY_TAIL] % N].call = call;
       reply[word[REPLY_TAIL] % N].segment = s;
       reply[word[REPLY_TAIL] % N].returns = returns;
       if
       :: is_return
       :: else -> call++
       fi;
       due = false;
       s = 0;
       word[REPLY_TAIL]++ };
       wake_if_sleeping(REPLY_TAIL);
next:
       skip

    :: (due && no_room) || (!due && word[REQUEST_TAIL] == head && !retained[0] && !retained[1]) ->
       flag[REQUEST_TAIL] = true;
       flag[REPLY_HEAD] = true;
       atomic {
#ifndef NO_RECHECK
         if
         :: (due || word[REQUEST_TAIL] == head) && (!due || word[REPLY_HEAD] == believed_head) ->
            asleep[CALLEE] = true
         :: else
         fi
#else
         asleep[CALLEE] = true
#endif
       };
end_idle:
       !asleep[CALLEE];
       flag[REQUEST_TAIL] = false;
       flag[REPLY_HEAD] = false;
       no_room = false
    od
  } unless {
    killed -> atomic {
      callee_has[0] = false;
      callee_has[1] = false;
      dead = true
    }
  }
}

/* Kills the callee at any moment, or never; then rings the caller's doorbell, as its watcher does. */
active proctype Killer() {
  if
  :: true -> killed = true
  :: true -> skip
  fi;
end_watching:
  dead;
  word[DOORBELL]++;
  wake_if_sleeping(DOORBELL)
}
