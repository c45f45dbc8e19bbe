"""The codes by which services say that they would answer later, or someone else."""

from __future__ import annotations

import re

# As ``failure_shapes.plain_name`` writes them.
_CERTAIN_CODES = frozenset(
    {
        *(
            "ratelimit",
            "ratelimited",
            "ratelimitexceeded",
            "ratelimitreached",
            "toomanyrequests",
            "overquerylimit",
        ),
        *("quotaexceeded", "quotareached", "quotaviolation", "insufficientquota", "resourceexhausted"),
        *("usagelimitreached", "usagelimitexceeded", "requestlimitreached", "requestlimitexceeded"),
        *(
            "monthlylimitreached",
            "monthlylimitexceeded",
            "dailylimitreached",
            "dailylimitexceeded",
            "overdailylimit",
        ),
        *(
            "limitreached",
            "invalidaccesskey",
            "missingaccesskey",
            "invalidapikey",
            "missingapikey",
            "noapikey",
        ),
        *(
            "apikeyinvalid",
            "apikeymissing",
            "apikeyexhausted",
            "apikeydisabled",
            "apikeyexpired",
            "apikeyrequired",
        ),
        *(
            "invalidkey",
            "missingkey",
            "inactiveaccount",
            "accountinactive",
            "inactiveuser",
            "accountdisabled",
        ),
        *(
            "subscriptionexpired",
            "subscriptionrequired",
            "paymentrequired",
            "insufficientcredits",
            "notsubscribed",
        ),
        *("invalidauth", "notauthed", "unauthenticated", "authenticationerror", "authenticationfailed"),
        *(
            "authenticationrequired",
            "authrequired",
            "loginrequired",
            "invalidcredentials",
            "badcredentials",
            "invalidgrant",
        ),
        *(
            "invalidclient",
            "unauthorizedclient",
            "tokenexpired",
            "tokenrevoked",
            "invalidtoken",
            "expiredtoken",
        ),
        *("invalidaccesstoken", "accesstokenexpired", "sessionexpired"),
        *(
            "internalerror",
            "internalservererror",
            "servererror",
            "serviceunavailable",
            "temporarilyunavailable",
        ),
        *(
            "unexpectederror",
            "apiunavailable",
            "apierror",
            "backenderror",
            "upstreamerror",
            "downstreamserviceerror",
        ),
        *(
            "gatewaytimeout",
            "gatewayerror",
            "badgateway",
            "requesttimeout",
            "deadlineexceeded",
            "databaseerror",
        ),
        *("overloadederror", "serveroverloaded", "servicedown", "serverbusy", "systembusy"),
        *("throttling", "throttlingexception", "requestthrottled", "unrecognizedclientexception"),
        *("etimedout", "econnrefused", "econnreset", "econnaborted", "enotfound", "eaiagain", "ehostunreach"),
        *("epipe", "esockettimedout", "enetunreach", "connectionerror", "connectionrefused", "networkerror"),
    }
)
_PART_FAILED = re.compile(
    r"(service|server|api|provider|backend|upstream|gateway|model|engine|system|database|network|connection)"
    r"(unavailable|timeout|timedout|overloaded|down|busy|unreachable|failure)|upstream\w*|\w*(ratelimit(ed|exceeded)?|quotaexceeded)"
)
# These may be the value of a status, a type or a reason too: they count only where they describe an error.
_CODES_OF_ERRORS = frozenset(
    {
        *("internal", "unavailable", "throttled", "overloaded", "unauthorized", "unauthorised", "forbidden"),
        *(
            "timeout",
            "timedout",
            "timeouterror",
            "quota",
            "quotaexhausted",
            "unknownerror",
            "unknownexception",
            "requestdenied",
            "maintenance",
            "unexpected",
            "overcapacity",
        ),
    }
)


def is_failure_code(plain: str, *, of_error: bool) -> bool:
    """Whether a word is the code of a failure that passes.

    Args:
        plain: the word, as ``failure_shapes.plain_name`` writes it.
        of_error: whether it stands where an error is described.
    """
    if plain in _CERTAIN_CODES or _PART_FAILED.fullmatch(plain):
        return True
    return of_error and plain in _CODES_OF_ERRORS
