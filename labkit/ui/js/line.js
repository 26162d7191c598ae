// The line to the kernel: questions with answers, over the widget's messages.

/** `send` says something, `ask` waits for the answer, `answer` is called with what came back. */
function makeLine(model, view) {
  const waiting = new Map();
  let asked = 0;
  const send = (message, buffers = []) => model.send(message, undefined, buffers);
  return {
    send,
    ask(message, patience = 120, buffers = []) {
      const id = `${view}-${++asked}`;
      return new Promise((done, failed) => {
        const late = setTimeout(() => settle({ error: "No answer from the kernel: is a cell running, or has the session ended?" }), patience * 1000);
        const settle = (answer, came) => {
          clearTimeout(late);
          waiting.delete(id);
          if (answer.error) failed(new Error(answer.error));
          else done(Object.assign(answer, { buffers: came }));
        };
        waiting.set(id, settle);
        send({ ...message, id }, buffers);
      });
    },
    answer(id, fields, buffers) {
      waiting.get(id)?.(fields, buffers);
    },
  };
}
