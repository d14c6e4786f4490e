/* A view as the engine's resolver and the callers see it: source or subquery, counts, costs. */
#include "table/table_int.h"

bool ice__view_is_hot(ice_view *v)
{
    return ice__view_is_present(v) && (!v->state->published || ice__published_resident(v->state->published));
}

static ice_code open_hot(ice_view *v, bool with_start, ice_arena *a, ice_source **out, ice_error *err)
{
    ice_column *cols;
    size_t n;
    ice_code rc;
    ICE_TRY(ice__view_columns(v, with_start, a, &cols, &n, err));
    ICE_TRY(ice__source_create(v, true, ICE_TAIL_VISIBLE, cols, n, out, err));
out:
    return rc;
}

ice_code ice_view_open(ice_view *v, unsigned tag, bool with_start, const ice_probe *probe, ice_arena *a,
                       ice_source **source, ice_str *subquery, ice_error *err)
{
    ice__plan plan;
    ice_code rc;
    *source = NULL;
    *subquery = ICE_STR_NONE;
    if (ice__view_is_hot(v)) {
        rc = open_hot(v, with_start, a, source, err);
        /* A cache that cannot be written is no reason not to read the files themselves. */
        if (rc != ICE_DISK_FULL && rc != ICE_IO)
            return rc;
    }
    ICE_TRY(ice__plan_view(v, with_start, probe, a, &plan, err));
    ICE_TRY(ice__plan_prove(&plan, NULL, 0, a, err)); /* footers: the engine looks at them before it asks for columns */
    ICE_TRY(ice__plan_sql(v, &plan, tag, with_start, a, subquery, err));
out:
    return rc;
}

/* ---- sub-sources: "__ice_<tag>_tail", "__ice_<tag>_deleted_<k>", "__ice_<tag>_ended_<k>", each with "_s"
 * where _row_start is shown (the branches depend on it) ---- */

typedef struct subname {
    bool tail, deleted, ended, with_start;
    size_t branch;
} subname;

static bool eat(ice_str *s, const char *word)
{
    size_t n = strlen(word);
    if (s->len < n || memcmp(s->ptr, word, n) != 0)
        return false;
    s->ptr += n;
    s->len -= n;
    return true;
}

static bool eat_number(ice_str *s, size_t *out)
{
    size_t n = 0;
    *out = 0;
    for (; s->len && *s->ptr >= '0' && *s->ptr <= '9' && n < 9; n++, s->ptr++, s->len--)
        *out = *out * 10 + (size_t)(*s->ptr - '0');
    return n > 0;
}

static bool parse_subname(ice_str s, subname *out)
{
    size_t tag;
    *out = (subname){0};
    if (!eat(&s, "__ice_") || !eat_number(&s, &tag) || !eat(&s, "_"))
        return false;
    if (!(out->tail = eat(&s, "tail")) && !(out->deleted = eat(&s, "deleted_")) &&
        !(out->ended = eat(&s, "ended_")))
        return false;
    if (!out->tail && !eat_number(&s, &out->branch))
        return false;
    out->with_start = eat(&s, "_s");
    return s.len == 0;
}

static ice_code open_subsource(ice_view *v, const subname *n, const ice_probe *probe, ice_arena *a,
                               ice_source **out, ice_error *err)
{
    ice_tail_which which = v->mode == ICE_VIEW_VERSIONS ? ICE_TAIL_ALL : ICE_TAIL_VISIBLE;
    ice_column *cols;
    size_t ncols;
    ice__plan plan;
    ice_code rc;
    ICE_TRY(ice__plan_view(v, n->with_start, probe, a, &plan, err));
    if (n->tail) {
        ICE_TRY(ice__view_columns(v, n->with_start, a, &cols, &ncols, err));
        ICE_TRY(ice__source_create(v, false, which, cols, ncols, out, err));
        ice__source_claim_rows(*out, plan.evolved_rows);
        if ((rc = ice__source_prove(*out, &plan, err)) != ICE_OK) {
            (*out)->m->release(*out);
            *out = NULL;
        }
    } else if (n->branch < plan.nbranches)
        rc = ice__branch_source(v, &plan.branches[n->branch], n->ended, out, err);
out:
    return rc;
}

ice_code ice_view_subsource(ice_view *v, ice_str name, const ice_probe *probe, ice_source **source,
                            ice_error *err)
{
    subname n;
    ice_code rc;
    *source = NULL;
    if (!parse_subname(name, &n))
        return ICE_OK;
    ice_arena *a = ice_arena_create();
    if (!a)
        return ice_fail_nomem(err);
    rc = open_subsource(v, &n, probe, a, source, err);
    ice_arena_free(a);
    return rc;
}

/* ---- counting ---- */

static ice_code count_tail(ice_tail *t, int64_t at, bool (*skip)(void *, ice_ref), void *arg, uint64_t *out,
                           ice_error *err)
{
    ice_tail_scan *scan = NULL;
    void *worker = NULL;
    ice_batch b;
    ice_code rc;
    ICE_TRY(ice_tail_scan_open(t, at, ICE_TAIL_VISIBLE, NULL, 0, skip, arg, &scan, err));
    do {
        ICE_TRY(ice_tail_scan_next(scan, &worker, &b, err));
        *out += b.count;
    } while (b.count);
out:
    ice_tail_scan_worker_free(worker);
    ice_tail_scan_close(scan);
    return rc;
}

/* Rows of the files that tail or overlay have ended; a row that both name counts once. */
static ice_code count_ended(ice_view *v, uint64_t *out, ice_error *err)
{
    ice_published *s = v->state->published;
    ice__dead *by_tail, *by_overlay;
    ice_code rc;
    ICE_TRY(ice__dead_of_view(v, &by_tail, &by_overlay, err));
    for (size_t i = 0; i < s->nfiles && (by_tail || by_overlay); i++)
        for (uint32_t first = 0; first < s->files[i].entry.file.record_count; first += ICE_BATCH_ROWS) {
            uint8_t mask[ICE_BATCH_ROWS / 8] = {0};
            size_t any = ice__dead_mask(by_tail, (uint32_t)i, first, v->at, mask);
            any += ice__dead_mask(by_overlay, (uint32_t)i, first, INT64_MAX, mask);
            for (size_t k = 0; any && k < sizeof mask; k++)
                *out += (uint64_t)__builtin_popcount(mask[k]);
        }
    ice__dead_unref(by_tail);
    ice__dead_unref(by_overlay);
out:
    return rc;
}

static ice_code count_present(ice_view *v, uint64_t *out, ice_error *err)
{
    bool own = v->overlay && v->mode == ICE_VIEW_CURRENT;
    uint64_t ended = 0;
    ice_tail_counts counts = {0};
    ice_code rc = ICE_OK;
    *out = v->state->published ? v->state->published->rows : 0;
    if (v->state->published)
        ICE_TRY(count_ended(v, &ended, err));
    *out -= ended;
    if (own)
        ice_tail_counts_get(v->overlay, &counts);
    ICE_TRY(count_tail(v->state->tail, v->at, counts.tombstones ? ice__overlay_ended : NULL, v, out, err));
    if (own)
        ICE_TRY(count_tail(v->overlay, v->overlay_at, NULL, NULL, out, err));
out:
    return rc;
}

static ice_code count_by_query(ice_view *v, uint64_t *out, ice_error *err)
{
    ice__name name = {.name = ICE_STR("counted"), .view = v};
    ice_engine_conn *c = NULL;
    ice_result *r = NULL;
    size_t n = 0;
    ice_value value = {0};
    ice_code rc;
    ICE_TRY(ice__engine_acquire(v->env, &name, 1, &c, err));
    ICE_TRY(ice_engine_run(c, ICE_STR("SELECT count(*) FROM counted"), NULL, 0, &r, err));
    ICE_TRY(ice_result_next(r, &n, err));
    if (n)
        ice_result_value(r, 0, 0, &value);
    *out = (uint64_t)value.i;
out:
    ice_result_close(r);
    if (c)
        ice__engine_release(v->env, c);
    return rc;
}

ice_code ice_view_count(ice_view *v, uint64_t *out, ice_error *err)
{
    return ice__view_is_present(v) ? count_present(v, out, err) : count_by_query(v, out, err);
}

void ice_view_cost_probed(ice_view *v, ice_probe *const *probes, size_t n, ice_view_cost *out)
{
    ice_arena *a = ice_arena_create();
    ice_probe *together = a && n ? ice__probes_together(v, probes, n, a) : NULL;
    ice__plan plan;
    ice_tail_counts counts;
    *out = (ice_view_cost){.resident = ice__view_is_hot(v)};
    ice_tail_counts_get(v->state->tail, &counts);
    out->rows = counts.live + (v->state->published ? v->state->published->rows : 0);
    if (v->state->published)
        out->files_total = v->state->published->nfiles;
    if (!out->resident && a && ice__plan_view(v, false, together, a, &plan, NULL) == ICE_OK) {
        out->files_read = plan.nfiles;
        out->files_total = plan.nfiles_total;
    }
    ice_arena_free(a);
}

void ice_view_cost_get(ice_view *v, ice_view_cost *out)
{
    ice_view_cost_probed(v, NULL, 0, out);
}
