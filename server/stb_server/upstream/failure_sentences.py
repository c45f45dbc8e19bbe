"""The sentences by which services say that they would answer later, or someone else."""

from __future__ import annotations

import re

_KEY = r"(api|app|application|access|subscription|auth|authentication|authorization|security)[ _-]?(access |api )?(key|token)"
# What answers: named at the start of a sentence, so that "game server" and "delivery service" are something else.
_SERVICE = (
    r"(?:^|[.:;!,-] )(sorry,? )?(the |our |this |your |an? |requested |remote |origin |target |upstream |data |external )*"
    r"(service|server|api|gateway|backend|system|database|upstream|application|engine|provider|endpoint|proxy|host)s?"
)
_CALLS = r"(requests?|calls?|usage|quota|api|credits?|rate|plan|throttle|transactions?|hits)('s)?"
_USED_UP = r"(exceed|reach|exhaust|deplet|used up|used all|over the|hit\b|spent)"
_ALLOWED = r"(limit|limitation|quota|volume|count|allowance|allotment|cap)s?"
_PERIOD = r"(monthly|daily|hourly|weekly|yearly|per (second|minute|hour|day|month)|this (month|hour|minute))"
_LATER = (
    r"((try|come back|retry|wait)( your request| the request| it)? ?(again)? ?(and retry )?"
    r"(later|shortly|soon|in (a few|some|\d+) ?\w+|after \w+|\d+ seconds)|succeed if you try again)"
)

_LIMITS = (
    r"\btoo many ([\w-]+ ){0,3}(requests|attempts|calls|connections|clients|submissions)\b",
    r"\b(api|rate|usage|requests?|calls?)[ _-]?limit(s|ed|ing|ation)?\b|\bthrottl(e|ing) limit\b",
    r"\b(requests|calls)\b.*\b(too (quickly|fast|often)|in the last (second|minute|hour|day))\b",
    rf"\b{_CALLS} ((per|a) \w+ )?{_ALLOWED}\b.*\b{_USED_UP}",
    rf"\b{_USED_UP}\w*\b.*\b{_CALLS} ?{_ALLOWED}\b",
    rf"\b(quota|{_ALLOWED} (of|on|for) (the |your )?(\w+ )?{_CALLS})\b.*\b{_USED_UP}",
    rf"\b{_USED_UP}\w*\b.*\b(quota|{_CALLS} {_PERIOD}|{_PERIOD} (\w+ )?{_CALLS})\b",
    rf"\b{_PERIOD} {_ALLOWED}\b.*\b{_USED_UP}",
    rf"\b{_USED_UP}\w*\b.*\b{_PERIOD} {_ALLOWED} (of|for) ",
    r"\bquota (will be|limit|violation)\b|^slow down\b|\bplease slow down\b",
    rf"\bused up (your|the) {_PERIOD}|\b(database|maximum|max) connections (reached|exceeded)\b",
    r"\bcall frequency is \d+ calls per\b",
    r"\b(out of|no more|no remaining|run out of|ran out of) (call volume |api )?(quota|credits|requests|calls)\b",
    r"\blimitation (of|allowed on) your subscription\b|\b(limit|quota) of your plan\b",
    r"\b(being|are|is|was|been|request) throttled\b",
    r"^(request(s)? )?(throttled|throttling|rate exceeded|over capacity|overloaded)\.?$",
)
_CREDENTIALS = (
    (
        rf"^(error[:/ ]*)?(an? )?(invalid|incorrect|wrong|missing|expired|unknown|no|bad)( or (missing|invalid|expired))? {_KEY}"
        r"( (is |was )?(provided|supplied|given|found))?"
        r"([.!]?$|[.!:]+ ?(\[|\S*\*|go|you|your|check|see|please (check|see|pass|use|provide))| - )"
    ),
    (
        rf"\b{_KEY} (provided )?(is|was|has been|has|not) (not )?(been )?"
        r"(invalid|valid|disabled|expired|missing|revoked|incorrect|suspended|inactive|deactivated|unknown)\b"
    ),
    rf"^invalid {_KEY},|\b{_KEY} format (is )?invalid\b|^(the )?(api|service) (is )?not configured\b",
    rf"\bnot (supplied|provided|sent) (a |an |any )?(valid )?{_KEY}|\bcheck (that )?your {_KEY}",
    r"^(invalid|bad|missing|expired) (or (expired|missing|invalid) )?((authentication|access|api) )?(token|credentials)\.?$",
    r"^unauthenticated\.?$|^(user )?(authentication|authorization) (error|failed|required)|^not authenticated\.?$",
    r"^unauthorized (request|access|client|user)\b(?!.*\b(copies|copy)\b)",
    r"\bauthentication credentials were not provided\b|^authorization (field|header) (is )?missing\.?$",
    r"\b(access|security|auth|session) token\b.*\b(expired|is invalid)\b|\berror validating access token\b",
    r"\b(token|session|signature) (has |is |was )?(been )?(expired|revoked)\b",
    r"\baccess denied due to (missing|invalid)\b|\baccess to this api has been\b|\bclient is not authorized\b",
    r"^(bad|invalid|missing) authentication\b|\bfailed to authenticate\b|\bmissing or invalid (bearer|api|access) (token|key)\b",
    r"\b(insufficient|not enough) (api )?(credits|quota)\b|\bpayment required\b|\bcontact billing\b",
    r"\bbalance (is )?(too low|insufficient)\b|^(active )?subscription (is )?required\b",
    r"\bsubscribe to (a|an|any|this|the) (paid )?(plan|api)\b|\bplan does not (include|allow|support|cover)\b",
    (
        r"\byour (account|subscription|plan|trial)( period)? (is|has|was) "
        r"(been )?(expired|inactive|ended|temporar\w+ blocked|blocked|suspended|disabled)\b"
    ),
    r"\btrial (period )?has (ended|expired)\b|^the user account is inactive\b",
    r"\byour ip( address)? (has been|is|was) (temporarily )?(blocked|banned|limited)\b|^captcha required",
)
_OUTAGES = (
    r"\binternal (server |application |service )?error\b|^(server|backend|upstream|unexpected|unknown|proxy|api) (server )?error\b",
    r"^an (unknown|unexpected|internal) error (has )?occurred\b|^(bad gateway|gateway timeout|service unavailable)\b",
    (
        rf"{_SERVICE} (is |are |was )?((currently|temporarily|now|momentarily|too) )*"
        r"(unavailable|offline|down|overloaded|busy|unhealthy|not available|not responding|unreachable)\b(?! (for (?!(\w+ )?maintenance)|in|at|to|on)\b)"
    ),
    rf"{_SERVICE}( \w+){{0,2}} timed out\b|^(the )?(request|operation|query|connection|read|call)( has)? timed out",
    rf"{_SERVICE} (returned|responded with|answered) (an error|(http )?(status )?(code )?(429|5\d\d))",
    r"\b(temporarily|currently) (unavailable|offline)[.,]? (please )?(try|retry)|^(temporarily|currently) unavailable\.?$",
    r"\bmodel (is )?(too busy|currently loading|overloaded)\b|\bno instances available\b",
    r"\b(under|undergoing|scheduled|down for) (\w+ )?maintenance\b",
    rf"\b(error|wrong|request|busy|overloaded|unavailable|capacity)\b.*\b{_LATER}|{_SERVICE}\b.*\b{_LATER}|^please {_LATER}",
    r"\bunable to process your request\. please try again\b|\bit's our fault\b|;? ?\bwait \d+ seconds\b",
    r"\b(upstream|backend|proxy|gateway|origin)\b.*\b5\d\d\b",
    r"\b(request failed with status code|status code|http error|http status) (429|5\d\d)\b",
)
_NETWORK = (
    r"\bE(CONNREFUSED|CONNRESET|CONNABORTED|TIMEDOUT|NOTFOUND|AI_AGAIN|HOSTUNREACH|PIPE|SOCKETTIMEDOUT)\b",
    r"\bconnection (refused|reset|timed out|aborted|lost|pool)\b|\bconnection is not available\b|^fetch failed",
    r"^socket hang up|^network error\b|\bmax retries exceeded\b|\b(read|connect(ion)?) timed out\b",
    r"\btimeout of \d+ ?ms exceeded\b|\baborted due to timeout\b|\btask timed out after\b|\bruntime exited\b",
    r"\bupstream (request timeout|connect error)\b",
    (
        r"\b(could not|unable to|failed to|cannot|can't) (connect to|reach|contact) (the |our )?"
        r"(database|backend|upstream|server|target|origin|service|api)\b"
    ),
    r"\bSQLSTATE\[(HY000|08\w{3})\]|\bdatabase (query |connection )?(error|failed)\b|\bproblem proxying the request\b",
    r"\b(Timeout|Connection|ServerSelection|OutOfMemory|Unavailable)(Exception|Error)\b|\bheap space\b",
)
_SENTENCE = re.compile(
    "|".join(f"(?:{pattern})" for pattern in (*_LIMITS, *_CREDENTIALS, *_OUTAGES, *_NETWORK)),
    re.IGNORECASE | re.DOTALL,
)
# In a member that describes an error fewer words tell, unless they speak of an argument.
_PART = r"(upstream|backend|proxy|gateway|database|db|redis|cache|server|connection|network|socket|dns|ssl|tls|cluster)"
_BROKEN = (
    r"(error|fail(ed|ure|s)?|died|crash(ed)?|down|closed|lost|refused|reset|aborted|time[d]?[ -]?out|unavailable|"
    r"unreachable|gone|not (connected|running|configured|responding|available|ready|reachable)|misconfigured|"
    r"overloaded|unhealthy|exhausted|rejected the connection|unsuccessful|is starting)"
)
_OF_ERRORS = re.compile(
    "|".join(
        f"(?:{pattern})"
        for pattern in (
            rf"\b{_PART}\b[\w' :-]{{0,40}}\b{_BROKEN}\b",
            rf"\b{_BROKEN} (to|from|by|in|at|on|of|while|during) (\w+ ){{0,4}}{_PART}\b",
            r"\btime[d]?[ -]?out\b|\btimeout(error|expired|exception)\b",
            rf"\b(quota|allowance)\b.*\b{_USED_UP}|^quota\b(?! of)|\bthrottl(ed|ing)\b",
            r"\bapi (error|failure|returned an|is down|key error)\b",
            rf"\b{_PERIOD} (\w+ ){{0,3}}{_ALLOWED}\b",
            r"\b\d+ (requests|calls|hits) (per|a|an) (second|minute|hour|day|month)\b",
            rf"\b{_KEY}s? (is |are |was )?(not (set|configured|found|recognized|recognised|authorized|enabled)|required)\b",
            (
                r"^(invalid|expired|malformed|missing|bad) (\w+ )?(token|jwt|signature)"
                r"(?!.*\b(address|symbol|id|name|pair|amount|contract)\b)( [\w ]*)?\.?$"
            ),
            r"\b(api|endpoint|resource|service)\b.*\b(forbidden|unauthorized|not authorized)\b",
            r"^(access|request|permission) (is )?(denied|forbidden)\.?$|\bnot authorized\b|\bunauthorized\b",
            r"\bsomething (went|is) wrong\b|\b(unknown|unexpected|unhandled) (exception|error|failure)\b",
            r"\b(service|login|api|feature|endpoint|assistant|search) (is )?(temporarily|currently) unavailable\b",
            r"\bno route to host\b|\bno response from\b|\bauth(entication)? (is )?not configured\b",
        )
    ),
    re.IGNORECASE | re.DOTALL,
)
_OF_ARGUMENTS = re.compile(
    r"\b(must|should|may (hold|have)|at (most|least)|between|not provided|does not exist|not found|no such|invalid value)\b"
    r"|^\w+ (is|are) required\b",
    re.IGNORECASE,
)
_COMES_BACK = re.compile(rf"(?:^|[.!;,] )(please )?{_LATER}", re.IGNORECASE)
_LONGEST_SENTENCE = 500

# Whole texts of proxies and hosts, which come with 200 where the status was lost on the way.
_TEXT = re.compile(
    r"no healthy upstream|error code: [15]\d\d\d?|error 5\d\d [a-z ]+|upstream (connect error|request timeout).*|stream timeout|rbac: access denied|no available server|(the )?(service|server|backend|upstream) is (temporarily |currently )?(unavailable|unhealthy|overloaded|down)\.?|(dial tcp \S+: .*|connect E[A-Z]+ .*|E(CONN[A-Z]+|TIMEDOUT))|.*\bFUNCTION_INVOCATION_(TIMEOUT|FAILED)\b.*|(the )?((api|rate|usage|request|daily|monthly) )*(rate limit|request limit|quota) (has been )?(exceeded|reached)\b.{,100}|too many requests([,.] ?(please )?(try|retry|wait|slow).*)?|your (\w+ )?quota has been (exceeded|reached|used up)\b.*|an? (unexpected |internal )?error occurred while processing your request\. please try again later\.?|.*\bblocked by (our|the) firewall\b.*",
    re.IGNORECASE | re.DOTALL,
)
# These words may also be data, for instance a translation, where the API is known to have answered.
_TEXT_OF_UNKNOWN_STATUS = re.compile(
    r"(service|server) (is )?((temporarily|currently) )?unavailable(\. please (try|retry).*)?|application error"
    r"|connection (timed out|refused|reset)|(invalid|missing|no) api key|api key (is )?(missing|invalid|expired)",
    re.IGNORECASE,
)
_LONGEST_TEXT = 400


def is_failure_sentence(text: str, *, of_error: bool) -> bool:
    """Whether a member of a report says that a failure passes.

    Args:
        text: the member.
        of_error: whether it stands where an error is described.
    """
    if len(text) > _LONGEST_SENTENCE:
        return False
    if _SENTENCE.search(text.strip()):
        return True
    if not of_error or _OF_ARGUMENTS.search(text):
        return False
    return (_COMES_BACK.search(text) or _OF_ERRORS.search(text.strip())) is not None


def is_failure_text(text: str, *, knows_status: bool) -> bool:
    """Whether the whole text is what a proxy or a host sends in an API's place.

    Args:
        text: without white space around it.
        knows_status: whether the HTTP status is known to be a success.
    """
    if len(text) > _LONGEST_TEXT:
        return False
    if _TEXT.fullmatch(text):
        return True
    return not knows_status and _TEXT_OF_UNKNOWN_STATUS.fullmatch(text.rstrip(".!")) is not None
