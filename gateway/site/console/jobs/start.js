// A simulation to start on a lattice: the model, its numbers, and how many steps.

import { post } from "../calls/api.js";
import { Failure, Head, Loading } from "../parts/basics.js";
import { Form, Input, Select } from "../parts/forms.js";
import { html, useState } from "../parts/html.js";
import { useOnce } from "../parts/ids.js";
import { useLoad } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { shapeText } from "../parts/words.js";
import { findFields, findLattice } from "../lattices/calls.js";

const MODELS = /** @type {[string, string][]} */ ([["ising", "Ising: spins up and down"], ["cellularAutomaton", "Cellular automaton, as Life"], ["potts", "Potts: spins of several states"], ["diffusion", "Diffusion of a field"], ["randomWalks", "Random walks"], ["sandpile", "Sandpile"], ["percolationGrowth", "A cluster that grows"]]);
const DYNAMICS = /** @type {[string, string][]} */ ([["SPIN_DYNAMICS_METROPOLIS", "one after the other (Metropolis)"], ["SPIN_DYNAMICS_WOLFF", "a cluster at a time (Wolff)"]]);
const FROM_NO_FIELD = new Set(["randomWalks", "percolationGrowth"]);

/** @param {{ latticeId: string }} props */
export function Page({ latticeId }) {
  const { data, error, reload } = useLoad(async (signal) => ({ lattice: await findLattice(latticeId, signal), fields: await findFields(latticeId, signal) }), [latticeId]);
  const [model, setModel] = useState("ising");
  const once = useOnce();
  if (!data) return error ? html`<${Failure} error=${error} again=${reload} />` : html`<${Loading} />`;
  const act = async (/** @type {Record<string, string>} */ values) => {
    const { jobId } = await once((requestId) => post(`/v1/lattices/${encodeURIComponent(latticeId)}/jobs`, jobOf(model, values, requestId)));
    go(to(["jobs", jobId]));
  };
  const fields = /** @type {[string, string][]} */ ([["", "as the model says"], ...data.fields.map(({ name }) => [name, name])]);
  return html`<${Head} title="Simulate" lead=${html`On <a href=${to(["lattices", latticeId])}>the lattice ${shapeText(data.lattice.shape)}</a>. It runs when its turn comes, and goes on when this page is closed.`} />
    <${Form} label="Start" act=${act}>
      <${Select} name="model" label="Model" of=${MODELS} value=${model} onChange=${(/** @type {any} */ event) => setModel(event.target.value)} />
      <${Numbers} model=${model} />
      <div class="columns">
        <${Input} name="steps" label="Steps" type="number" min="1" value="1000" required=${true} />
        <${Input} name="seed" label="Seed" type="number" min="0" placeholder="drawn" hint="The same one gives the same bits." />
        <${Input} name="resultField" label="Field for the result" value="result" hint="It is looked at on the lattice's page." />
        ${!FROM_NO_FIELD.has(model) && html`<${Select} name="initialField" label="Starts from" of=${fields} />`}
      </div>
    <//>`;
}

/** @param {{ model: string }} props */
function Numbers({ model }) {
  const temperature = html`<${Input} name="temperature" label="Temperature" type="number" min="0.000001" step="any" value="2.269185" hint="In units of the coupling." />`;
  const dynamics = html`<${Select} name="dynamics" label="Spins turn" of=${DYNAMICS} />`;
  return {
    ising: html`<div class="columns">${temperature}${dynamics}</div>`,
    potts: html`<div class="columns"><${Input} name="states" label="States" type="number" min="2" max="255" value="3" />${temperature}${dynamics}</div>`,
    cellularAutomaton: html`<div class="columns"><${Input} name="rule" label="Rule" value="B3/S23" hint="B3/S23 is Life, on diagonal neighbours." /><${Input} name="density" label="Alive at first, as a share" type="number" min="0" max="1" step="any" value="0.4" /></div>`,
    diffusion: html`<div class="columns"><${Input} name="diffusivity" label="Diffusivity" type="number" min="0.000001" step="any" value="1" /><${Input} name="timeStep" label="Time of a step" type="number" min="0.000001" step="any" value="0.1" /></div>`,
    randomWalks: html`<${Input} name="walkers" label="Walkers" type="number" min="1" value="1000" />`,
    sandpile: html`<p class="hint">Each step a grain falls on a site at random.</p>`,
    percolationGrowth: html`<${Input} name="probability" label="A site is open with the probability" type="number" min="0" max="1" step="any" placeholder="invasion: the lowest joins" />`,
  }[model];
}

/**
 * @param {string} model
 * @param {Record<string, string>} values
 * @param {string} requestId makes it safe to send again
 */
function jobOf(model, { steps, seed, resultField, initialField, dynamics, rule, ...rest }, requestId) {
  const { model: _model, ...texts } = rest;
  const numbers = Object.fromEntries(Object.entries(texts).filter(([, value]) => value !== "").map(([name, value]) => [name, Number(value)]));
  return {
    simulation: { [model]: { ...numbers, ...(dynamics ? { dynamics } : {}), ...(rule ? { rule } : {}) }, ...(initialField ? { initialField } : {}) },
    steps,
    requestId,
    ...(seed ? { seed } : {}),
    ...(resultField ? { resultField } : {}),
  };
}
