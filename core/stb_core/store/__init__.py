"""The store: the one truth for datasets, responses, misses, runs, trajectories and verdicts."""

from stb_core.store.claim_queue import ClaimQueue, claim_once, open_queue
from stb_core.store.cost_shares import CostShare, Paid
from stb_core.store.curation import CurationAct, note_of
from stb_core.store.database import sqlite_url
from stb_core.store.datasets import Dataset
from stb_core.store.episodes import PriorCall, ToolInEpisode
from stb_core.store.group_commit import GroupCommit
from stb_core.store.misses import Miss, bounded_arguments
from stb_core.store.responses import Kept, Response
from stb_core.store.runs import JournalEntry, Run, StoredTrial
from stb_core.store.shielded import ShieldedTasks
from stb_core.store.snapshots import Snapshot
from stb_core.store.soundness import find_damage, find_wrong_value
from stb_core.store.store import Store, open_store
from stb_core.store.verdicts import BroughtVerdicts, Mark
from stb_core.store.work import Claim, EndedClaim, WorkPlace
