"""What must never happen in an ensemble, checked while the real servers run.

``Safety`` is fed with the events of all peers, their live databases and disks, and every frame as it leaves its
sender. Each rule has a name, which is what a violation begins with. Sources: P is quorum-protocol §26 (the TLA+
specifications' names), T a trap of its §25, D design §4.

========================================================== ======================================
rule                                                       source
========================================================== ======================================
**history** (history.py, terms.py)
each term has an epoch of its own                          P Leadership2
one leads, all follow                                      P Leadership2
one leader per epoch                                       P Leadership1
all commit the same                                        P PrefixConsistency, Agreement, TotalOrder
nobody skips a commit                                      P Agreement, TotalOrder
delivered in the order of zxids                            P LocalPrimaryOrder, GlobalPrimaryOrder
only what a leader proposed is delivered                   P Integrity
one zxid, one transaction                                  P Integrity
an established leader proposes without gaps                P LocalPrimaryOrder
a leader has delivered all of earlier epochs               P PrimaryIntegrity
a leader begins with all that is committed                 P PrimaryIntegrity
a sync takes nothing back                                  P PrefixConsistency
what was answered outlives every leader                    P ours (a)
equal histories make equal trees                           P ours (e)
trees are what their digests say                           P ours (e)
a learner applies what is committed                        P Integrity, T 2
**quorums** (terms.py)
a quorum elects                                            §5.2.5
whom a quorum elects knows as much as its electors         §5.2.8
a quorum promised to follow                                §7.1 rule A
a quorum took over the history                             §7.2 rule N
one epoch is promised once                                 §11.2.2, acceptedEpoch
**memberships** (memberships.py)
one version, one membership                                §19.1
a membership never goes back                               §19.6
quorums of both, then a new membership                     §19.3, §19.7
each membership follows the one in force                   §19.3
a membership is on disk before it counts                   §19.3, §19.6
who has no vote any more commits nothing                   §19.4
**packets** (links.py)
packets come in their phase                                P stateInconsistent
every packet has a branch that handles it                  P messageIllegal
a learner is sent the next proposal                        P proposalInconsistent, T 26
a log is cut within itself                                 P proposalInconsistent
no sync cuts what is committed                             P proposalInconsistent
a commit is of the next proposals                          P commitInconsistent
acknowledgements are of what was sent                      P ackInconsistent
NEWLEADER comes behind the history                         T 14
observers are informed, followers asked                    §16.4
observers acknowledge no proposal                          §13
only what a leader proposed is sent                        P Integrity
a master feeds in the epoch it follows in                  §14
observers are told what is committed                       §14
**disks** (order.py, epochs.py)
acceptedEpoch first, then LEADERINFO                       D, §7.1 rule E
acceptedEpoch first, then ACKEPOCH                         D, §25 own traps
history first, then currentEpoch                           D, T 22
history and currentEpoch first, then the ACK of NEWLEADER  D, T 21, 22
currentEpoch first, then NEWLEADER                         §7.1.8
the log first, then ACK                                    D, §12
a quorum's disks first, then COMMIT                        §16.4
epochs never decrease                                      P ours (b)
currentEpoch is an accepted one                            P ours (b)
a vote says what the disk holds                            D, T 12
**roles and sessions** (roles.py, sessions.py)
nothing of a role leaves after its end                     T 27
who looks for a leader logs nothing                        T 27
the log is drained before the next role                    D, §22.1
a session ends once                                        client-protocol §17.3
only a leader lets sessions expire                         client-protocol §17.3
ephemerals have a live session                             P ours (f)
equal histories make equal sessions                        P ours (f)
========================================================== ======================================
"""

from trioquorum.testing.safety.checker import Safety
from trioquorum.testing.safety.sight import Durable, Watched

__all__ = ["Durable", "Safety", "Watched"]
