#include "cli/cli.h"
const struct verb verb_move = {.name = "move"}, verb_receive = {.name = "receive"};
