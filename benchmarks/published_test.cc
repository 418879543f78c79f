#include "benchmarks/published_plans.h"
