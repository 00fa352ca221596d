"""One module per corpus; `get_config(argument)` gives the recipe."""

from configs import crema_d, demo, emodb, iemocap, ravdess

CORPORA = {
    "iemocap": iemocap,
    "emodb": emodb,
    "ravdess": ravdess,
    "crema_d": crema_d,
    "demo": demo,
}
WITH_SESSIONS = ("iemocap", "demo")
