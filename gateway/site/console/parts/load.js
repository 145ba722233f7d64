// What a page asks for: once, again on demand, or every so often while somebody looks.

import { connection } from "../calls/connection.js";
import { countedMs } from "../calls/identity.js";
import { useCallback, useEffect, useRef, useState } from "./html.js";

/**
 * @template T
 * @typedef {{ data: T | undefined, error: unknown, isLoading: boolean, reload: () => void, set: (data: T) => void }} Loaded
 */

/**
 * The answer of `find`, asked again when one of `deps` changes, and when what was away is back.
 * What was there stays until then.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} find
 * @param {unknown[]} deps
 * @param {{ everyMs?: number }} [how]
 * @returns {Loaded<T>}
 */
export function useLoad(find, deps, { everyMs = 0 } = {}) {
  const [round, setRound] = useState(0);
  const [state, setState] = useState(/** @type {{ data: T | undefined, error: unknown, isLoading: boolean }} */ ({ data: undefined, error: null, isLoading: true }));
  const latest = useRef(find);
  latest.current = find;
  const key = JSON.stringify(deps);
  const shown = useRef(key);
  const isBusy = useRef(false);
  useEffect(() => {
    const aborting = new AbortController();
    isBusy.current = true;
    const isOther = shown.current !== key;
    shown.current = key;
    setState((last) => ({ ...last, ...(isOther ? { data: undefined, error: null } : {}), isLoading: true }));
    const settle = (/** @type {(last: typeof state) => typeof state} */ next) => {
      if (aborting.signal.aborted) return;
      isBusy.current = false;
      setState(next);
    };
    latest.current(aborting.signal).then(
      (data) => settle(() => ({ data, error: null, isLoading: false })),
      (error) => settle((last) => ({ ...last, error, isLoading: false })),
    );
    return () => aborting.abort();
  }, [key, round]);
  const reload = useCallback(() => setRound((last) => last + 1), []);
  // What takes longer than that would never be answered, were it asked anew each time.
  const poll = useCallback(() => isBusy.current || reload(), [reload]);
  useEvery(everyMs && countedMs(everyMs), poll);
  const mayComeBack = Boolean(/** @type {any} */ (state.error)?.isPassing);
  useEffect(() => (mayComeBack ? connection.watch(() => connection.get().isAway || reload()) : undefined), [mayComeBack, reload]);
  const set = useCallback((/** @type {T} */ data) => setState({ data, error: null, isLoading: false }), []);
  return { ...state, reload, set };
}

/**
 * @param {number} everyMs 0 for never
 * @param {() => unknown} act only while the page is looked at, and at once when it is again and it was time
 * @param {{ atOnce?: boolean }} [how]
 */
export function useEvery(everyMs, act, { atOnce = false } = {}) {
  useEffect(() => {
    if (!everyMs) return;
    let isDue = atOnce;
    const actOnceSeen = () => {
      if (!isDue || document.hidden) return;
      isDue = false;
      act();
    };
    const timer = setInterval(() => {
      isDue = true;
      actOnceSeen();
    }, everyMs);
    actOnceSeen();
    document.addEventListener("visibilitychange", actOnceSeen);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", actOnceSeen);
    };
  }, [everyMs, act]);
}

/** Whether somebody looks at the page: it is not in a tab that was put aside. */
export function useIsSeen() {
  const [isSeen, setSeen] = useState(!document.hidden);
  useEffect(() => {
    const look = () => setSeen(!document.hidden);
    look();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return isSeen;
}

/**
 * The items of a list that comes in pages. To ask again gives up all pages but the first one;
 * `isLoading` tells whether one more is on its way.
 * @template T
 * @param {(pageToken: string, signal: AbortSignal) => Promise<{ items: T[], next?: string }>} find
 * @param {unknown[]} deps
 * @param {{ everyMs?: number }} [how] how often to ask again, while there are no others
 */
export function usePages(find, deps, { everyMs = 0 } = {}) {
  const key = JSON.stringify(deps);
  // Those of further pages too, once there are any: a first page that comes later has not been asked for.
  const [more, setMore] = useState(/** @type {{ key: string, items: T[], next: string, error: unknown, isLoading: boolean } | null} */ (null));
  const extended = more?.key === key ? more : null;
  const first = useLoad((signal) => find("", signal), deps, { everyMs: extended ? 0 : everyMs });
  const items = extended?.items ?? first.data?.items;
  const next = extended?.next ?? first.data?.next ?? "";
  const loadMore = async () => {
    const before = items ?? [];
    setMore({ key, items: before, next, error: null, isLoading: true });
    try {
      const page = await find(next, new AbortController().signal);
      setMore({ key, items: [...before, ...page.items], next: page.next ?? "", error: null, isLoading: false });
    } catch (error) {
      setMore({ key, items: before, next, error, isLoading: false });
    }
  };
  const reload = useCallback(() => {
    setMore(null);
    first.reload();
  }, [first.reload]);
  return { items, error: first.error ?? extended?.error, hasMore: Boolean(next), isLoading: Boolean(extended?.isLoading), loadMore, reload };
}

/**
 * An action with its outcome: whether it runs, what came of it, and what went wrong last.
 * @param {(...values: any[]) => Promise<unknown>} act
 */
export function useAction(act) {
  const [state, setState] = useState(/** @type {{ isRunning: boolean, error: unknown, outcome?: any }} */ ({ isRunning: false, error: null }));
  const run = async (/** @type {unknown[]} */ ...values) => {
    setState({ isRunning: true, error: null });
    try {
      const outcome = await act(...values);
      setState({ isRunning: false, error: null, outcome });
      return outcome;
    } catch (error) {
      setState({ isRunning: false, error });
      return undefined;
    }
  };
  return { ...state, run };
}
